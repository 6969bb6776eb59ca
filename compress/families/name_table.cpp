#include "compress/families/name_table.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>
#include <charconv>
#include <set>
#include <stdexcept>
#include <string_view>
#include <tuple>
#include <utility>

#include "compress/base/error.h"         // CheckpointError, UnsupportedError
#include "compress/families/families.h"  // Family
#include "compress/spec/weights.h"       // weights

namespace compression {
namespace {

constexpr std::string_view own_base = "bert.", own_layer = "bert.encoder.layer.",
                           own_decoder_layer = "decoder.encoder.layer.";

/// The module that a tensor, or a name with a dot at its end, is of.
std::string_view module_of(std::string_view name) {
  return name.substr(0, name.rfind('.'));
}

const OtherName* find_own(const std::vector<OtherName>& names, std::string_view module) {
  const auto found = std::ranges::find(names, module, &OtherName::own);
  return found == names.end() ? nullptr : &*found;
}

/// Calls visit(list of names) for the modules of the encoder and of every head.
template <class Visit>
void each_name_list(const Family& family, Visit&& visit) {
  visit(family.modules);
  for (const auto& task : task_traits) visit(family.head(task.head));
}

/// The class without a head names its tensors without the encoder's name.
bool is_bare(const Family& family, std::string_view name) {
  const auto module = module_of(name);
  const auto first = name.substr(0, name.find('.'));
  const auto begins_with = [&](std::string_view path) { return path.substr(0, path.find('.')) == first; };
  bool whole = false,
       bare = first == "embeddings" || first == "encoder" || first == "pooler" || begins_with(family.layer);
  each_name_list(family, [&](const std::vector<OtherName>& names) {
    for (const auto& each : names) {
      whole |= each.theirs == module;
      bare |= each.theirs.starts_with(fmt::format("{}.", family.base)) &&
              begins_with(each.theirs.substr(family.base.size() + 1));
    }
  });
  return bare && !whole;
}

std::string canonical_name(const Family& family, std::string name) {
  for (const auto& [old, now] : {std::pair(".gamma", ".weight"),  // of LayerNorms, converted from TensorFlow
                                 std::pair(".beta", ".bias")}) {
    if (name.ends_with(old)) name.replace(name.size() - std::string_view(old).size(), std::string::npos, now);
  }
  return is_bare(family, name) ? fmt::format("{}.{}", family.base, name) : name;
}

/// What stands before the encoder's own name, or before the names of an encoder without one: "module." of DataParallel,
/// "model." of a class around it.
std::string prefix_of(const Family& family, const std::vector<std::string>& names) {
  const auto below_base = [&](std::string_view own) {
    const auto* other = find_own(family.modules, fmt::format("{}{}", own_base, own));
    return other ? other->theirs.substr(family.base.size() + 1) : own;
  };
  const auto words = below_base("embeddings.word_embeddings"), norm = below_base("embeddings.LayerNorm");
  for (const auto& anchor :
       {fmt::format("{}.weight", words), fmt::format("{}.weight", norm), fmt::format("{}.gamma", norm)}) {
    std::set<std::string> prefixes;
    for (const auto& name : names) {
      if (!name.ends_with(anchor)) continue;
      std::string_view prefix(name.data(), name.size() - anchor.size());
      if (!prefix.empty() && !prefix.ends_with('.')) continue;
      const auto own = fmt::format("{}.", family.base);
      const bool has_own = prefix == own || prefix.ends_with("." + own);
      prefixes.emplace(prefix.substr(0, prefix.size() - (has_own ? own.size() : 0)));
    }
    if (prefixes.contains("")) return "";
    if (prefixes.size() == 1) return *prefixes.begin();
    if (prefixes.size() > 1) {
      throw CheckpointError(fmt::format("found {} encoders (tensors named {}...), expected one", prefixes.size(),
                                        fmt::join(prefixes, "..., ")));
    }
  }
  return "";
}

std::string layer_name(std::string_view pattern, int64_t index, int64_t inner) {
  std::string name(pattern);
  const auto fill = [&](int64_t number) {
    if (const auto at = name.find("{}"); at != std::string::npos) name.replace(at, 2, std::to_string(number));
  };
  if (name.find("{}") != name.rfind("{}")) {
    fill(index / inner);
    fill(index % inner);
  } else {
    fill(index);
  }
  return name;
}

std::string checkpoint_name(const Family& family, HeadKind head, int64_t inner, std::string_view own) {
  const auto module = module_of(own), leaf = own.substr(module.size());
  if (const auto* other = find_own(family.head(head), module)) return fmt::format("{}{}", other->theirs, leaf);
  if (const auto* other = find_own(family.modules, module)) return fmt::format("{}{}", other->theirs, leaf);
  const bool of_decoder = own.starts_with(own_decoder_layer);
  if (!own.starts_with(own_base) && !of_decoder) return std::string(own);
  const auto before = of_decoder ? own_decoder_layer : own_layer;
  if (!own.starts_with(before)) return fmt::format("{}.{}", family.base, own.substr(own_base.size()));
  int64_t index = 0;
  const auto* rest = std::from_chars(own.data() + before.size(), own.data() + own.size(), index).ptr + 1;
  const auto part = module.substr(static_cast<size_t>(rest - own.data()));
  const auto* other = find_own(family.layer_modules, part);
  const auto layer = layer_name(of_decoder ? family.decoder_layer : family.layer, index, inner);
  return fmt::format("{}.{}.{}{}", family.base, layer, other ? other->theirs : part, leaf);
}

}  // namespace

CanonicalNames canonical_names(const std::string& model_type, const std::vector<std::string>& names) {
  const auto& family = find_family(model_type);
  CanonicalNames canonical{.of = {}, .prefix = prefix_of(family, names)};
  for (const auto& name : names) {
    const bool prefixed = name.starts_with(canonical.prefix);
    canonical.of[name] = canonical_name(family, prefixed ? name.substr(canonical.prefix.size()) : name);
  }
  return canonical;
}

std::function<std::string(const std::string&)> checkpoint_names(const ModelConfig& config) {
  const auto& family = find_family(config.model_type);
  const auto inner = layer_groups(config).inner;
  return [&family, inner, head = traits_of(config.task).head](const std::string& own) {
    return checkpoint_name(family, head, inner, own);
  };
}

std::string canonical_name(ModelConfig config, Role role) {
  if (role == Role::language_head) config.language_head = LanguageHead::own;
  const auto all = weights(config);
  const auto found = std::ranges::find_if(all, [&](const auto& weight) { return weight.role == role && !weight.bias; });
  if (found == all.end() || found->block >= 0) throw std::logic_error("no weight is alone in its role");
  return checkpoint_names(config)(found->name);
}

std::vector<JoinedTensor> joined_tensors(const ModelConfig& config) {
  const auto& family = find_family(config.model_type);
  if (family.joined.empty()) return {};
  const auto canonical = checkpoint_names(config);
  std::map<std::string, JoinedTensor> by_name;
  for (const auto& weight : weights(config)) {
    const auto name = canonical(weight.name);
    const auto module = module_of(name);
    for (const auto& joined : family.joined) {
      for (const auto& part : joined.parts) {
        if (weight.block < 0 || !module.ends_with(fmt::format(".{}", part))) continue;
        const auto whole = fmt::format("{}{}{}", module.substr(0, module.size() - part.size()), joined.theirs,
                                       std::string_view(name).substr(module.size()));
        auto& found = by_name[whole];
        found.name = whole;
        found.parts.push_back({name, weight.axes.front().size});
        if (found.sizes.empty()) {
          for (const auto& axis : weight.axes) found.sizes.push_back(axis.size);
        } else {
          found.sizes.front() += weight.axes.front().size;
        }
      }
    }
  }
  std::vector<JoinedTensor> all;
  for (auto& [name, joined] : by_name) all.push_back(std::move(joined));
  return all;
}

std::function<std::string(const std::string&)> names_in_file(const ModelConfig& config) {
  std::map<std::string, std::string> modules;  // of parts, those of the whole
  for (const auto& joined : joined_tensors(config)) {
    for (const auto& part : joined.parts) {
      modules.emplace(module_of(part.name), module_of(joined.name));
    }
  }
  return [modules = std::move(modules)](const std::string& canonical) {
    const auto module = module_of(canonical);
    const auto found = modules.find(std::string(module));
    return found == modules.end() ? canonical : found->second + canonical.substr(module.size());
  };
}

std::string beside(std::string_view name, std::string_view leaf) {
  return fmt::format("{}.{}", module_of(name), leaf);
}

std::vector<PartOfJoined> parts_of_joined(const ModelConfig& config, const TensorShapes& shapes,
                                          const std::string& source) {
  const auto joined_list = joined_tensors(config);
  const auto turned = transposed_tensors(config);
  std::vector<PartOfJoined> result;
  const auto take_apart = [&](const JoinedTensor& joined, const std::string& whole, bool of_all) {
    int64_t first = 0;
    for (const auto& part : joined.parts) {
      PartOfJoined own{.whole = whole, .name = beside(part.name, whole.substr(module_of(whole).size() + 1))};
      if (!of_all) std::tie(own.first, own.rows) = std::pair(first, part.rows);
      result.push_back(std::move(own));
      first += part.rows;
    }
  };
  for (const auto& joined : joined_list) {
    int64_t rows = 0;
    for (const auto& part : joined.parts) rows += part.rows;
    const auto has_rows = [&](const std::vector<int64_t>& shape) { return !shape.empty() && shape.front() == rows; };
    if (const auto found = shapes.find(joined.name); found != shapes.end()) {
      const auto& shape = found->second;
      if (shape != joined.sizes) {
        auto there = shape, expected = joined.sizes;
        if (std::ranges::find(turned, joined.name) != turned.end()) {  // as the file has it
          std::ranges::reverse(there);
          std::ranges::reverse(expected);
        }
        throw CheckpointError(fmt::format("{}: tensor {}: found [{}], expected [{}]", source, joined.name,
                                          fmt::join(there, ", "), fmt::join(expected, ", ")));
      }
      take_apart(joined, joined.name, /*of_all=*/false);
    }
    if (!joined.name.ends_with(".weight")) continue;
    const auto module = beside(joined.name, "");
    for (auto found = shapes.lower_bound(module); found != shapes.end() && found->first.starts_with(module); ++found) {
      const auto& [name, shape] = *found;
      const bool is_joined = std::ranges::find(joined_list, name, &JoinedTensor::name) != joined_list.end();
      if (is_joined || name.find('.', module.size()) != std::string::npos) continue;
      const bool of_all = shape.empty() || shape == std::vector<int64_t>{1};
      if (of_all || has_rows(shape)) take_apart(joined, name, of_all);
    }
  }
  return result;
}

std::vector<std::string> transposed_tensors(const ModelConfig& config) {
  if (!find_family(config.model_type).transposed_blocks) return {};
  std::map<std::string, std::string> wholes;
  for (const auto& joined : joined_tensors(config)) {
    for (const auto& part : joined.parts) wholes[part.name] = joined.name;
  }
  const auto canonical = checkpoint_names(config);
  std::set<std::string> names;
  for (const auto& weight : weights(config)) {
    if (weight.block < 0 || weight.axes.size() != 2) continue;
    const auto name = canonical(weight.name);
    const auto whole = wholes.find(name);
    names.insert(whole == wholes.end() ? name : whole->second);
  }
  return {names.begin(), names.end()};
}

std::vector<std::string> norms_less_one(const ModelConfig& config) {
  std::vector<std::string> names;
  if (!find_family(config.model_type).norms_less_one) return names;
  const auto canonical = checkpoint_names(config);
  for (const auto& weight : weights(config)) {
    if (weight.is_norm() && !weight.bias) names.push_back(canonical(weight.name));
  }
  return names;
}

std::vector<std::string> unknown_layers(const ModelConfig& config) {
  const auto canonical = checkpoint_names(config);
  std::set<std::string> known;
  for (const auto& weight : weights(config)) {
    if (weight.is_linear()) known.emplace(module_of(canonical(weight.name)));
  }
  std::vector<std::string> unknown;
  for (const auto& name : config.unquantized) {
    if (!known.contains(name)) unknown.push_back(name);
  }
  return unknown;
}

std::string unknown_layers_warning(const ModelConfig& config) {
  const auto unknown = unknown_layers(config);
  if (unknown.empty()) return "";
  return fmt::format("config.json: quantization_config.ignore: found {}, which no linear layer is called",
                     fmt::join(unknown, ", "));
}

std::vector<std::string> ignorable_names(const std::string& model_type) {
  const auto& family = find_family(model_type);
  auto names = family.not_ours;
  for (const auto* buffer : {"position_ids", "token_type_ids"}) {  // of older checkpoints
    names.push_back(fmt::format("{}.embeddings.{}", family.base, buffer));
  }
  names.emplace_back(".rotary_emb.inv_freq");  // the angles, which follow from the config
  for (const auto& task : task_traits) {
    for (const auto& module : family.head(task.head)) names.push_back(fmt::format("{}.", module.theirs));
  }
  return names;
}

}  // namespace compression
