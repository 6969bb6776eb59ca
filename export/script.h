#pragma once
// TorchScript written as source: sizes are not baked in, as they are by tracing. TorchScript is deprecated upstream:
// what depends on it is in this folder.
//
//   Script script({"x"});
//   const auto h = script.let(script.linear("dense", model->dense->weight, model->dense->bias, "x"));
//   script.returns("torch.relu(" + h + ")");
//   save_script(script, "model.pt");

#include <torch/csrc/jit/api/module.h>

#include <filesystem>
#include <functional>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "compress/evaluate/evaluate.h"  // LogitsFunction
#include "compress/model/layers.h"       // Linear, Embedding, LayerNorm

namespace compression::exporter {

/// The source of a forward() method and the tensors that it uses. Names may have dots. Expressions are TorchScript,
/// with `torch` for LibTorch's operators and `ops` for those of libraries; dtypes are written as dtype() gives them.
class Script {
 public:
  /// Arguments of forward(), all tensors.
  explicit Script(const std::vector<std::string>& arguments);

  /// Keeps a tensor in the file, once a name; the expression that reads it: None for an undefined one.
  std::string tensor(const std::string& name, const torch::Tensor& value);

  /// Keeps a value that is no tensor, an object of a library; the expression that reads it.
  std::string attribute(const std::string& name, c10::IValue value);

  /// A line of the body.
  void line(std::string_view text);

  /// Names an expression's value; the name.
  std::string let(std::string_view expression);

  /// The result, a tensor. Last.
  void returns(std::string_view expression);

  /// Expressions of whole layers, which keep their tensors.
  std::string linear(const std::string& name, const torch::Tensor& weight, const torch::Tensor& bias,
                     const std::string& x);
  std::string linear(const std::string& name, const Linear& layer, const std::string& x);
  std::string embedding(const std::string& name, const Embedding& table, const std::string& ids);

  /// A module's weight in float32: what is stored, widened by the file itself where LibTorch's operators can.
  std::string full_weight(const std::string& name, const StoredModule& module);
  std::string layer_norm(const std::string& name, const LayerNorm& norm, const std::string& x);

  /// How the source names a dtype: its number, as TorchScript itself writes it.
  static std::string dtype(torch::Dtype type);

  const std::string& source() const { return source_; }

  /// Compiled, in evaluation mode.
  torch::jit::Module compile() const;

 private:
  /// The product of a matrix's parts, or of their rows: `of` gives the expression of either by that of a part.
  std::string widened(const std::string& name, const StoredModule& module,
                      const std::function<std::string(const std::string& part)>& of);
  std::string int8_products(const std::string& name, const Linear& layer, const std::string& x);

  std::string keep(const std::string& name);
  std::string source_;
  std::vector<std::pair<std::string, torch::Tensor>> tensors_;
  std::vector<std::pair<std::string, c10::IValue>> attributes_;
  int64_t values_ = 0;
};

/// Writes the file under a temporary name, then renames it. Throws StorageError.
void save_script(const Script& script, const std::filesystem::path& file);

/// Throws CheckpointError if it is not there, damaged, or not TorchScript. A model.pt is a program: do not load one
/// that you would not run.
torch::jit::Module load_script(const std::filesystem::path& file);

/// Whose output it is, and for what.
struct ScriptUse {
  std::string name = "the TorchScript model";  // begins messages: the file
  std::optional<TaskHead> head = {};           // absent: a classifier, of any classes
};

/// forward(input_ids, attention_mask, token_type_ids) -> logits, as a LogitsFunction, which any number of threads may
/// call. Throws CheckpointError if there is no such forward(). The function itself throws it where the output is not
/// one of numbers, of the shape that the head has (compress/task/task.h; without one [batch, classes], always the same
/// classes); 16-bit and 64-bit numbers become float32. It throws UnsupportedError where the file's own code fails, on a
/// text that is too long for example.
LogitsFunction script_logits(const torch::jit::Module& module, const ScriptUse& use = {});

}  // namespace compression::exporter
