// A model.pt that is damaged, hostile or somebody else's: each is an error of one line.

#include <caffe2/serialize/inline_container.h>
#include <torch/csrc/jit/api/module.h>

#include <tuple>

#include "compress/base/error.h"
#include "compress/base/limits.h"
#include "export/archive.h"
#include "export/encoder_state.h"
#include "export/model_script.h"
#include "quantize/convert.h"
#include "tests/support.h"

namespace compression::exporter {
namespace {

using Catch::Matchers::Contains;
using Catch::Matchers::StartsWith;
using namespace testing;
using caffe2::serialize::PyTorchStreamReader;
using caffe2::serialize::PyTorchStreamWriter;

/// Copies a file with one record as `change` makes it.
template <class Change>
void copy_with(const std::filesystem::path& from, const std::filesystem::path& to, const std::string& record,
               Change&& change) {
  PyTorchStreamReader reader(from.string());
  PyTorchStreamWriter writer(to.string());
  for (const auto& name : reader.getAllRecords()) {
    if (name == "version" || name == ".data/serialization_id") continue;  // the writer's own
    const auto [data, size] = reader.getRecord(name);
    std::string bytes(static_cast<const char*>(data.get()), size);
    if (name == record) change(bytes);
    writer.writeRecord(name, bytes.data(), bytes.size());
  }
  writer.writeEndOfFile();
}

Model int8_model() {
  auto model = tiny_model();
  quantize::quantize(model, {WeightFormat::int8, WeightFormat::int8, ActivationScheme::per_token});
  return model;
}

TEST_CASE("A model.pt whose storages are cut is refused, of either runtime") {
  const auto runtime = GENERATE(Runtime::portable, Runtime::fused);
  const TemporaryFolder folder;
  const auto whole = folder / "model.pt", cut = folder / "cut.pt";
  save_script(model_script(GENERATE(0, 1) == 0 ? tiny_model() : int8_model(), runtime), whole);
  load_script(whole);
  size_t storages = 0;
  PyTorchStreamReader reader(whole.string());
  for (const auto& name : reader.getAllRecords()) {
    if (name.find('/') == std::string::npos || !(name.starts_with("data/") || name.starts_with("constants/"))) continue;
    if (++storages % 5 != 1) continue;  // every fifth is enough
    for (const bool to_nothing : {true, false}) {
      copy_with(whole, cut, name, [&](std::string& bytes) { bytes.resize(to_nothing ? 0 : bytes.size() - 1); });
      CHECK_THAT(message_of<CheckpointError>([&] { load_script(cut); }),
                 Contains("cut.pt: ") && Contains(".pkl: storage ") && Contains("bytes, expected"));
    }
  }
  CHECK(storages > 10);
}

TEST_CASE("A model.pt with other bytes in what it says of its tensors is refused or runs, and never crashes") {
  const auto runtime = GENERATE(Runtime::portable, Runtime::fused);
  const TemporaryFolder folder;
  const auto whole = folder / "model.pt", spoiled = folder / "spoiled.pt";
  save_script(model_script(int8_model(), runtime), whole);
  const auto batch = golden_batch(golden_tensors("model/tiny.safetensors"));
  std::mt19937 random(5);
  int refused = 0;
  for (int round = 0; round < 40; ++round) {
    copy_with(whole, spoiled, "data.pkl", [&](std::string& bytes) {
      for (int i = 0; i <= round % 4; ++i) bytes[random() % bytes.size()] = static_cast<char>(random());
    });
    try {
      const c10::InferenceMode inference;
      script_logits(load_script(spoiled))(batch);
    } catch (const Error& error) {
      ++refused;
      CHECK(std::string(error.what()).find('\n') == std::string::npos);
    }
  }
  CHECK(refused > 10);
}

struct SameSize : Records {
  int64_t size(std::string_view) const override { return 24; }
};

std::string text(const std::string& value) {
  return "X" + std::string{static_cast<char>(value.size()), 0, 0, 0} + value;
}
std::string storage(const std::string& type, const std::string& elements) {
  return "(" + text("storage") + "ctorch\n" + type + "Storage\n" + text("0") + text("cpu") + elements + "tQ";
}
/// `place`: offset, sizes and strides.
std::string tensor(const std::string& of, const std::string& place, const std::string& function = "_rebuild_tensor_v2",
                   const std::string& more = "") {
  return "ctorch._utils\n" + function + "\n(" + of + place + more + "\x89NtR";
}

TEST_CASE("A pickle's tensors have to lie in their storages, and these in their records") {
  const auto read = [](const std::string& pickle) { check_pickle(pickle, SameSize(), "data.pkl"); };
  const auto problem = [&](const std::string& pickle) { return message_of<CheckpointError>([&] { read(pickle); }); };
  const std::string six = "K\6", place = std::string("K\0(K\2K\3t(K\3K\1t", 14), four = "K\4";
  read("\x80\2" + tensor(storage("Float", six), place) + ".");
  read(tensor(storage("Long", "K\3"), std::string("K\0(K\3t(K\1t", 10)) + ".");
  CHECK_THAT(problem(tensor(storage("Float", "K\7"), place) + "."),
             Contains("storage 0: found 24 bytes, expected 28 for its 7"));
  CHECK_THAT(problem(tensor(storage("Long", four), place) + "."), Contains("expected 32"));
  CHECK_THAT(problem(tensor(storage("Float", "J\xFF\xFF\xFF\xFF"), place) + "."), Contains("for its -1 elements"));
  CHECK_THAT(problem(tensor(storage("Float", std::string("\x8a\x08\0\0\0\0\0\0\0\x40", 10)), place) + "."),
             Contains("storage 0"));
  CHECK_THAT(problem(tensor(storage("Strange", six), place) + "."), Contains("another type"));
  for (const auto& other :
       {std::string("K\1(K\2K\3t(K\3K\1t", 14), std::string("K\0(K\2K\3t(K\4K\1t", 14),
        std::string("J\xFF\xFF\xFF\xFF(K\2K\3t(K\3K\1t", 17), std::string("K\0(K\3K\3t(K\3K\1t", 14)}) {
    CHECK_THAT(problem(tensor(storage("Float", six), other) + "."),
               Contains("does not lie in its storage of 6 elements"));
  }
  const std::string expanded("K\0(\x8a\x08\0\0\0\0\0\0\0\x40\x8a\x08\0\0\0\0\0\0\0\x40t(K\0K\0t", 30);
  CHECK_THAT(problem(tensor(storage("Float", six), expanded) + "."), Contains("does not lie in its storage"));
  const auto plain = tensor(storage("Float", six), place);
  CHECK_THAT(problem("ctorch._utils\n_rebuild_sparse_tensor\n(" + plain + "tR."), Contains("sparse"));
  // A scale for one channel of two.
  const auto scales = tensor(storage("Double", "K\1"), std::string("K\0(K\1t(K\1t", 10));
  const auto points = tensor(storage("Long", "K\1"), std::string("K\0(K\1t(K\1t", 10));
  const std::string by_channel = "(ctorch\nper_channel_affine\n" + scales + points + std::string("K\0t", 3);
  CHECK_THAT(problem(tensor(storage("QInt8", six), place, "_rebuild_qtensor", by_channel) + "."),
             Contains("each of its channels"));
  for (const std::string& bytes : {std::string(), std::string("t."), std::string("(R."), std::string("h\1."),
                                   std::string("K\1K\2R."), std::string("X\xFF\xFF\xFF\x7F."), std::string("ctorch"),
                                   std::string("\xFE."), std::string("(Q."), std::string("]rchto.")}) {
    CHECK_THAT(problem(bytes), Contains("no pickle"));
  }
  CHECK_THAT(problem(")" + std::string(1'000'000, '\x85') + "."), Contains("tuples in tuples"));
  CHECK_THAT(problem(std::string(100'000, ']') + std::string(99'999, 'a') + "."), Contains("lists, dicts and objects"));
}

TEST_CASE("What is no TorchScript file is refused") {
  const TemporaryFolder folder;
  const auto message = [&](std::string_view bytes) {
    write_file(folder / "x.pt", bytes);
    return message_of<CheckpointError>([&] { load_script(folder / "x.pt"); });
  };
  CHECK_THAT(message(""), Contains("x.pt: not a TorchScript file"));
  CHECK_THAT(message("PK\3\4"), Contains("x.pt: not a TorchScript file"));
  CHECK_THAT(message(std::string(4, '\0') + "PTMF" + std::string(100, '\0')), Contains("no ZIP archive"));
  PyTorchStreamWriter writer((folder / "x.pt").string());
  writer.writeRecord("data.pkl", "\x80\2).", 4);  // as torch.save writes it
  writer.writeEndOfFile();
  CHECK_THAT(message_of<CheckpointError>([&] { load_script(folder / "x.pt"); }), Contains("no constants.pkl"));
}

TEST_CASE("Records of a model.pt that are no tensor's are bounded together") {
  const TemporaryFolder folder;
  PyTorchStreamWriter writer((folder / "x.pt").string());
  const std::string zeros(limits::pickle_bytes, '\0');
  for (int i = 0; i < 5; ++i) writer.writeRecord(fmt::format("code/{}.py", i), zeros.data(), zeros.size(), true);
  writer.writeEndOfFile();
  CHECK(std::filesystem::file_size(folder / "x.pt") < limits::MiB);
  CHECK_THAT(message_of<CheckpointError>([&] { load_script(folder / "x.pt"); }),
             Contains("x.pt: record code/4.py: found ") && Contains("bytes, expected at most"));
}

/// What is said of a model.pt, odd.pt, with more text behind its own; and the record that the text is in.
std::pair<std::string, std::string> said_of_text(const std::string& more) {
  const TemporaryFolder folder;
  save_script(model_script(tiny_model()), folder / "model.pt");
  PyTorchStreamReader reader((folder / "model.pt").string());
  std::string code;
  for (const auto& name : reader.getAllRecords()) code = name.ends_with(".py") ? name : code;
  copy_with(folder / "model.pt", folder / "odd.pt", code, [&](std::string& text) { text += more; });
  return {message_of<CheckpointError>([&] { load_script(folder / "odd.pt"); }), code};
}

TEST_CASE("A model.pt whose text is no TorchScript is refused with the reason") {
  const auto message = said_of_text("  odd = (\n").first;
  CHECK_THAT(message, Contains("odd.pt: not a TorchScript file that can be read: "));
  CHECK(message.size() > message.find("read: ") + 10);
}

TEST_CASE("The text of a model.pt has bounds in what LibTorch's parser does by recursion") {
  const auto times = [](const std::string& part, int count) {
    std::string all;
    for (int i = 0; i < count; ++i) all += part;
    return all;
  };
  for (const auto& [text, what] : std::vector<std::pair<std::string, std::string>>{
           {times("# x\n", 30'000), "comments"},
           {"  def f(self):\n    return " + times("(", 100'000), "brackets in each other"},
           {"  def f(self):\n    x = 1" + times("+1", 10'000) + "\n", "operators of a line"},
           {"  def f(self):\n    x = " + times("not ", 100'000) + "1\n", "operators of a line"},
           {"  def f(self):\n    x = a" + times(".b", 100'000) + "\n", "operators of a line"},
           {"  def f(self):\n    x = 1" + times(" if True else 1", 100'000) + "\n", "operators of a line"},
           {times("    elif x:\n      y = 1\n", 100'000), "branches"},
           {times(" ", 100'000) + "x = 1\n", "spaces before a line"}}) {
    const auto [message, code] = said_of_text(text);
    CHECK_THAT(message, Contains("odd.pt: " + code + ": found more than") && Contains(what));
  }
}

torch::jit::Module script(const std::string& body, const std::string& arguments = "ids, mask, types") {
  torch::jit::Module module("m");
  module.define("def forward(self, " + arguments + "):\n    " + body + "\n");
  return module;
}

Batch two_texts() {
  const auto ids = torch::ones({2, 4}, torch::kLong);
  return text_batch(ids, torch::ones_like(ids), torch::zeros_like(ids), {}, torch::arange(2));
}

TEST_CASE("An output of TorchScript that is no logits is told with what is expected") {
  const auto message = [](const std::string& body, const std::optional<TaskHead>& head = {}) {
    const auto logits = script_logits(script("return " + body), {.name = "x.pt", .head = head});
    return message_of<CheckpointError>([&] { logits(two_texts()); });
  };
  const std::string expected = ", expected Float [2, any]";
  CHECK(message("torch.sum(ids, 1).to(6)") == "x.pt: its output is Float [2]" + expected);
  CHECK(message("torch.zeros([2, 4, 3])") == "x.pt: its output is Float [2, 4, 3]" + expected);
  CHECK(message("torch.zeros([2, 3], dtype=4)") == "x.pt: its output is Long [2, 3]" + expected);
  CHECK(message("torch.zeros([2, 3], dtype=11)") == "x.pt: its output is Bool [2, 3]" + expected);
  CHECK(message("torch.zeros([2, 3], dtype=9)") == "x.pt: its output is ComplexFloat [2, 3]" + expected);
  CHECK(message("torch.zeros([2, 0])") == "x.pt: its output is Float [2, 0]" + expected);
  CHECK(message("torch.zeros([1, 3])") == "x.pt: its output is Float [1, 3]" + expected);
  CHECK(message("torch.zeros([])") == "x.pt: its output is Float []" + expected);
  CHECK_THAT(message("(ids, mask)"), StartsWith("x.pt: its output is Tuple[Tensor, Tensor], expected Float [2, any]"));
  CHECK_THAT(message("{'logits': ids}"), StartsWith("x.pt: its output is Dict"));
  CHECK_THAT(message("None"), StartsWith("x.pt: its output is NoneType"));
  CHECK_THAT(message("torch.to_sparse(torch.zeros([2, 3]))"), Contains("not dense"));
  CHECK_THAT(message("torch.zeros([2, 3], device=torch.device('meta'))"), Contains("on the device meta"));
  CHECK(message("torch.zeros([2, 3]) / 0") ==
        "x.pt: its output has values that are no numbers or infinite, expected logits");
  CHECK(message("torch.ones([2, 3]) / 0") ==
        "x.pt: its output has values that are no numbers or infinite, expected logits");
  CHECK(message("torch.zeros([2, 1048577])") == "x.pt: its output has 1048577 classes, expected at most 1048576");
  const TaskHead three{{"a", "b", "c"}, TaskType::classification};
  CHECK(message("torch.zeros([2, 5])", three) == "x.pt: its output is Float [2, 5], expected Float [2, 3]");
  CHECK(message("torch.zeros([2, 3])", TaskHead{{"a", "b", "c"}, TaskType::token_classification}) ==
        "x.pt: its output is Float [2, 3], expected Float [2, 4, 3]");
  CHECK(message("torch.zeros([2, 4, 3])", TaskHead{{}, TaskType::question_answering}) ==
        "x.pt: its output is Float [2, 4, 3], expected Float [2, 4, 2]");
}

TEST_CASE("A classifier of TorchScript may give other floating-point numbers, and always gives the same classes") {
  for (const int dtype : {5, 7, 15}) {  // float16, float64, bfloat16
    const auto logits = script_logits(script(fmt::format("return torch.ones([ids.size(0), 3], dtype={})", dtype)));
    CHECK(torch::equal(logits(two_texts()), torch::ones({2, 3})));
  }
  const auto growing = script_logits(script("return torch.ones([ids.size(0), ids.size(1)])"), {.name = "x.pt"});
  CHECK(growing(two_texts()).size(1) == 4);
  auto longer = two_texts();
  for (auto& [name, values] : longer.tensors) values = values.repeat({1, 2});
  CHECK(message_of<CheckpointError>([&] { growing(longer); }) ==
        "x.pt: its output is Float [2, 8], expected Float [2, 4]");
}

TEST_CASE("A forward() that does not take a batch is told at once, and one that fails by its own words") {
  const auto message = [](const torch::jit::Module& module) {
    return message_of<CheckpointError>([&] { script_logits(module, {.name = "x.pt"}); });
  };
  CHECK_THAT(message(script("return ids", "ids, mask")), Contains("x.pt: found forward(self, ids, mask), expected"));
  CHECK_THAT(message(script("return ids", "ids, mask, types, more")),
             Contains("found forward(self, ids, mask, types, more)"));
  CHECK_THAT(message(script("return ids", "ids: int, mask: int, types: int")), Contains("of tensors"));
  CHECK_THAT(message(torch::jit::Module("empty")), Contains("found no forward()"));
  script_logits(script("return ids", "ids, mask, types, more: int=1"));
  const auto failing = script_logits(script("return torch.index_select(ids, 7, mask)"), {.name = "x.pt"});
  const auto words = message_of<UnsupportedError>([&] { failing(two_texts()); });
  CHECK_THAT(words, StartsWith("x.pt: can't run 2 texts of 4 tokens: ") && Contains("Error"));
  CHECK(words.find('\n') == std::string::npos);
  const auto huge = script_logits(script("return torch.zeros([ids.size(0), 1000000000000])"), {.name = "x.pt"});
  CHECK(message_of<UnsupportedError>([&] { huge(two_texts()); }) ==
        "x.pt: can't run 2 texts of 4 tokens: it wants more memory than there is");
}

TEST_CASE("Every number and tensor of the fused state is checked") {
  const auto model = tiny_model();
  const auto message = [&](const std::function<void(ops::EncoderState&)>& change) {
    auto state = encoder_state(model);
    change(state);
    try {
      ops::Encoder encoder(state);
    } catch (const c10::Error& error) {
      return std::string(error.what_without_backtrace());
    }
    FAIL("the state was taken");
    return std::string();
  };
  const auto with_number = [&](const std::string& name, double value) {
    return message([&](auto& state) { state.numbers.insert_or_assign(name, value); });
  };
  const auto with_tensor = [&](const std::string& name, const torch::Tensor& value) {
    return message([&](auto& state) { state.tensors.insert_or_assign(name, value); });
  };
  const double none = std::numeric_limits<double>::quiet_NaN(), infinite = std::numeric_limits<double>::infinity();
  for (const std::string name : {"layers", "head_size", "max_length", "padding_position", "function", "head.function",
                                 "eps", "score_scale", "format", "layer.1.weights"}) {
    for (const double value : {none, infinite, -infinite, 1e300, -2.0}) {
      if (name == "score_scale" && value == -2.0) continue;
      INFO(name << " " << value);
      CHECK_THAT(with_number(name, value), Contains("compress.Encoder: " + name + ": found"));
    }
    CHECK_THAT(message([&](auto& state) { std::ignore = state.numbers.erase(name); }), Contains(name));
  }
  for (const std::string name : {"rms_norm", "layer.0.output_norm.eps", "layer.0.output_norm.rms_norm", "head.mean",
                                 "layer.0.pre_norm", "layer.0.causal", "layer.0.window", "layer.0.rotary_base"}) {
    for (const double value : {none, infinite, -infinite, 1e300, -2.0}) {
      INFO(name << " " << value);
      CHECK_THAT(with_number(name, value), Contains("compress.Encoder: " + name + ": found"));
    }
  }
  CHECK_THAT(with_number("layers", 65'536), Contains("layers"));
  CHECK_THAT(with_number("head_size", 2.5), Contains("head_size"));
  const std::string words = "embeddings.word.weight";
  const auto table = encoder_state(model).tensors.at(words);
  auto beyond = table.detach().clone();
  beyond.unsafeGetTensorImpl()->set_storage_offset(1);
  CHECK_THAT(with_tensor(words, beyond), Contains(words) && Contains("not contiguous in its storage"));
  CHECK_THAT(with_tensor(words, table.t().contiguous().t()), Contains("not contiguous"));
  CHECK_THAT(with_tensor(words, torch::zeros({1}).expand({1000, table.size(1)})), Contains("not contiguous"));
  CHECK_THAT(with_tensor(words, torch::zeros({0, table.size(1)})), Contains("found 0 rows, expected 1 or more"));
  CHECK_THAT(with_tensor(words, torch::zeros({5, 0})), Contains("no columns"));
  CHECK_THAT(with_tensor(words, table.to_sparse()), Contains("dense"));
  CHECK_THAT(with_tensor(words, torch::Tensor()), Contains("missing"));
  CHECK_THAT(with_tensor(words, table.to(torch::kLong)),
             Contains("found Long, expected one of Float, Half, BFloat16, Char"));
  CHECK_THAT(with_tensor("layer.0.gate.weight", torch::zeros({3, 3})), Contains("layer.0.gate.weight: found [3, 3]"));
  CHECK_THAT(with_tensor("layer.0.key.weight", torch::zeros({0, table.size(1)})),
             Contains("layer.0.key: found 0 rows"));
  CHECK_THAT(with_tensor("layer.0.query_norm.weight", torch::zeros({3})), Contains("layer.0.query_norm.weight"));
  CHECK_THAT(with_tensor("head.classifier.weight", torch::zeros({0, table.size(1)})), Contains("0 rows"));
}

}  // namespace
}  // namespace compression::exporter
