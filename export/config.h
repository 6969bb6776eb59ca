#pragma once
// Settings of the export stage.

#include <array>
#include <memory>
#include <optional>

#include "compress/workflow/stage.h"  // Stage

namespace compression::exporter {

enum class Format { torchscript };
constexpr std::array<std::pair<Format, std::string_view>, 1> enum_names(Format) {
  return {{{Format::torchscript, "torchscript"}}};
}

/// What computes a model.pt.
enum class Runtime {
  portable,  // LibTorch's operators
  fused      // ours, in libcompress_ops.so
};
constexpr std::array<std::pair<Runtime, std::string_view>, 2> enum_names(Runtime) {
  return {{{Runtime::portable, "portable"}, {Runtime::fused, "fused"}}};
}

struct ExportConfig {
  static constexpr std::string_view kind = "export";

  Reference of;
  Format format = Format::torchscript;
  Runtime runtime = Runtime::portable;
  std::optional<double> tolerance;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to export", Presence::required);
    visit("format", self.format, "torchscript: model.pt, which LibTorch and PyTorch load");
    visit("runtime", self.runtime,
          "portable: LibTorch's operators, and nothing else is needed; fused: the operators of libcompress_ops.so, "
          "which are faster, on the CPU");
    visit(
        "tolerance", self.tolerance,
        "Largest difference of a logit between the file, as it is loaded again, and what the runtime computes of the "
        "model; absent: 0.001, of the fused runtime with int8 and 16-bit weights 0.00001, times the logits' root mean "
        "square where that is above 1");
  }
};
void validate(const ExportConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const ExportConfig& config);

}  // namespace compression::exporter
