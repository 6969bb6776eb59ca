#pragma once
// The modules behind the encoder of a sentence-transformers folder: modules.json, 1_Pooling, 2_Dense, 3_Normalize. What
// such a folder says of texts is read with the tokenizer (tokenizer/sentence_settings.h).

#include <array>
#include <filesystem>
#include <string_view>
#include <utility>
#include <vector>

#include "compress/spec/config.h"  // ModelConfig, Pooling

namespace compression {

inline constexpr const char* modules_name = "modules.json";

/// Keys of versions before 5.4, in the order in which the vectors follow each other.
inline constexpr std::array<std::pair<std::string_view, Pooling>, 6> pooling_keys{
    {{"pooling_mode_cls_token", Pooling::cls},
     {"pooling_mode_max_tokens", Pooling::max},
     {"pooling_mode_mean_tokens", Pooling::mean},
     {"pooling_mode_mean_sqrt_len_tokens", Pooling::mean_sqrt_len_tokens},
     {"pooling_mode_weightedmean_tokens", Pooling::weightedmean},
     {"pooling_mode_lasttoken", Pooling::lasttoken}}};

/// Classes of torch.nn.
inline constexpr std::array<std::pair<std::string_view, Activation>, 6> module_activations{
    {{"torch.nn.modules.linear.Identity", Activation::none},
     {"torch.nn.modules.activation.Tanh", Activation::tanh},
     {"torch.nn.modules.activation.ReLU", Activation::relu},
     {"torch.nn.modules.activation.GELU", Activation::gelu},
     {"torch.nn.modules.activation.Sigmoid", Activation::sigmoid},
     {"torch.nn.modules.activation.SiLU", Activation::silu}}};

/// Sets config.embedding as the folder's modules.json says, if there is one, and the task of an encoder whose
/// config.json names it after the masked language model that it was. Modules that we do not have are named in
/// config.embedding.unsupported. Throws CheckpointError (damaged file).
void read_sentence_modules(const std::filesystem::path& folder, ModelConfig& config);

/// Whether the vector of a text is of those tokens that no prompt has made. Throws CheckpointError.
bool leaves_out_prompts(const std::filesystem::path& folder);

/// The folder of each of config.embedding.steps, where the weights of a dense one are. Throws CheckpointError.
std::vector<std::filesystem::path> step_folders(const std::filesystem::path& folder);

/// The files of a sentence-transformers folder that are in folders of its own, relative to it: what modules.json names.
std::vector<std::filesystem::path> module_files(const std::filesystem::path& folder);

}  // namespace compression
