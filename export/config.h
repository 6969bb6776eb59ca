#pragma once
// Settings of the export stage.

#include <array>
#include <memory>

#include "compress/workflow/stage.h"  // Stage

namespace compression::exporter {

enum class Format { torchscript };
constexpr std::array<std::pair<Format, std::string_view>, 1> enum_names(Format) {
  return {{{Format::torchscript, "torchscript"}}};
}

struct ExportConfig {
  static constexpr std::string_view kind = "export";

  Reference of;
  Format format = Format::torchscript;
  double tolerance = 1e-3;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("of", self.of, "The model to export", Presence::required);
    visit("format", self.format, "torchscript: model.pt, which plain LibTorch and PyTorch load");
    visit("tolerance", self.tolerance,
          "Largest difference of a logit between the model and the file, as it is loaded again");
  }
};
void validate(const ExportConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const ExportConfig& config);

}  // namespace compression::exporter
