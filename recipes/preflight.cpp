#include "recipes/preflight.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>

#include "compress/base/error.h"                   // Error
#include "compress/engine/network_state.h"         // runtime_lacks
#include "compress/families/families.h"            // require_encoder
#include "compress/model_files/fit.h"              // check_fit
#include "compress/model_folder/model_folder.h"    // load_model_config
#include "compress/spec/cost.h"                    // encoder_macs
#include "compress/spec/weights.h"                 // with_hidden_size
#include "compress/tokenizer/sentence_settings.h"  // transformer_folder
#include "prune/allocate.h"                        // largest_reduction
#include "quantize/convert.h"                      // format_of
#include "quantize/mixed.h"                        // layer_names, unmatched

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;

/// What is known of a model before it is there.
struct Known {
  ModelConfig config;
  bool exact = true;        // the sizes of its layers; else each is at most as the config says
  bool trims = true;        // its tokenizer can lose tokens
  std::string name;         // "`teacher`", or a folder
  std::string misfit = {};  // why the task's head can't be taken from it; of folders
};

using Found = std::optional<Known>;

int64_t size(const ModelConfig& config) {
  return static_cast<int64_t>(config.layers.size());
}

/// The layer that has the fewest of something, or the most.
size_t extreme(const ModelConfig& config, UnitKind kind, bool fewest) {
  size_t found = 0;
  for (size_t i = 1; i < config.layers.size(); ++i) {
    const auto value = units_of(config.layers[i], kind), best = units_of(config.layers[found], kind);
    if (fewest ? value < best : value > best) found = i;
  }
  return found;
}

class Checker {
 public:
  Checker(const Recipe& recipe, bool pairs, const TaskHead& head, Problems& problems)
      : recipe_(recipe), pairs_(pairs), head_(head), problems_(problems) {}

  ModelChecks run() {
    for (size_t i = 0; i < recipe_.stages.size(); ++i) {
      const auto& stage = recipe_.stages[i];
      const auto key = join_key(join_key("stages", i), stage_kind(stage.config));
      stages_[stage.id] = std::visit([&](const auto& config) { return result(key, config); }, stage.config);
      if (auto& made = stages_[stage.id]) {
        made->name = fmt::format("`{}`", stage.id);
        made->misfit.clear();
      }
    }
    const auto& goals = recipe_.goals;
    if (goals.accuracy && goals.accuracy->relative_to) {
      with_head("goals.accuracy.relative_to", *goals.accuracy->relative_to);
    }
    if (goals.macs) check_reduction(*goals.macs, model("goals.macs.relative_to", goals.macs->relative_to));
    return std::move(checks_);
  }

 private:
  // ---- where models come from

  Found model(const std::string& key, const Reference& reference) {
    const auto stage = stages_.find(reference.name);
    return stage != stages_.end() ? stage->second : folder(key, reference.name);
  }
  Found base() { return folder("model.path", recipe_.model.path); }

  /// One whose head is taken as it is.
  Found with_head(const std::string& key, const Reference& reference) {
    auto found = model(key, reference);
    if (found) problems_.require(found->misfit.empty(), key, fmt::format("{}: {}", found->name, found->misfit));
    return found;
  }

  /// A checkpoint folder, which is looked at once.
  Found folder(const std::string& key, const fs::path& path) {
    const auto known = folders_.find(path);
    if (known != folders_.end()) return known->second;
    auto& found = folders_[path];
    std::error_code ignored;
    if (!fs::is_regular_file(transformer_folder(path) / "config.json", ignored)) return found;  // told elsewhere
    try {
      Known own{.config = load_model_config(path), .name = path.string()};
      require_encoder(own.config.model_type, path.string());
      own.misfit = head_misfit(path, own.config, head_);
      own.config.task = recipe_.task.type;
      if (traits_of(own.config.task).head == HeadKind::embedding && !own.config.embedding.unsupported.empty()) {
        problems_.add(key, own.config.embedding.unsupported);
        return found;
      }
      check_length(key, own);
      check_tokenizer(path, own);
      found = own;
    } catch (const Error& error) {
      problems_.add(key, error.what());
    }
    return found;
  }

  void check_tokenizer(const fs::path& path, Known& known) {
    const auto tokenizer = load_tokenizer(path);
    known.trims = std::ranges::any_of(tokenizer->files(), [](const fs::path& file) {
      return file == "tokenizer.json" || file == "vocab.txt" || file == "vocab.json";
    });
    const auto labels = traits_of(recipe_.task.type).labels;
    const TextUse use{.pairs = labels != LabelKind::cosine && (pairs_ || labels == LabelKind::answers),
                      .masks = labels == LabelKind::none};
    if (tokenizer->usable_ids() < tokenizer->vocabulary_size()) checks_.beyond.push_back(path);
    auto lines = tokenizer->warnings();
    for (auto& line : check_fit(*tokenizer, known.config, path, use)) lines.push_back(std::move(line));
    const auto& longest = tokenizer->sentence().max_length;
    if (labels == LabelKind::cosine && longest && *longest < recipe_.data.max_length) {
      lines.push_back(
          fmt::format("{}: its texts are cut to {} tokens (max_seq_length of sentence_bert_config.json), not to "
                      "data.max_length, {}",
                      path.string(), *longest, recipe_.data.max_length));
    }
    for (auto& line : lines) {
      auto& all = checks_.warnings;
      if (std::ranges::find(all, line) == all.end()) all.push_back(std::move(line));
    }
  }

  void check_length(const std::string& key, const Known& known) {
    const auto longest = known.config.max_length();
    problems_.require(recipe_.data.max_length <= longest, "data.max_length",
                      fmt::format("found {}, but the model {} ({}) has positions for {} tokens; expected at most {}",
                                  recipe_.data.max_length, known.name, key, longest, longest));
  }

  // ---- checks

  void require_trainable(const std::string& key, const Found& known, std::string_view what) {
    if (!known) return;
    const auto& config = known->config;
    const bool whole =
        config.linear_format == WeightFormat::float32 && config.embedding_format == WeightFormat::float32;
    problems_.require(
        whole, key,
        fmt::format(
            "found {}, whose weights are {}; expected a model with fp32 weights, which can be {}", known->name,
            enum_name(config.linear_format == WeightFormat::float32 ? config.embedding_format : config.linear_format),
            what));
  }

  /// That so many are there in each layer.
  void at_most(const std::string& key, const std::optional<int64_t>& wanted, const Known& known, UnitKind kind,
               std::string_view what) {
    if (!wanted) return;
    const auto& config = known.config;
    const auto layer = extreme(config, kind, known.exact);  // of sizes that are not known, the largest is a bound
    const auto most = units_of(config.layers[layer], kind);
    problems_.require(*wanted <= most, key,
                      fmt::format("found {}, but layer {} of {} has {} {}; expected at most {}", *wanted, layer,
                                  known.name, most, what, most));
  }

  /// That the stages' own sizes leave as few multiply-adds as the goal asks for.
  void check_reduction(const MacsGoal& goal, const Found& base) {
    if (!problems_.list().empty()) return;  // sizes that are refused say nothing; there may be no stage
    const auto& last = stages_[recipe_.stages.back().id];
    if (!base || !base->exact || !last || !last->exact) return;
    const auto macs = [&](const Known& known) { return encoder_macs(known.config, recipe_.data.max_length); };
    const double reduction = static_cast<double>(macs(*base)) / static_cast<double>(std::max<int64_t>(macs(*last), 1));
    problems_.require(meets(goal, reduction), "goals.macs.min_reduction",
                      fmt::format("found {}, but the stages leave {} with {:.4g} times fewer multiply-adds than {}",
                                  number_text(goal.min_reduction), last->name, reduction, base->name));
  }

  void check_layer(const std::string& key, int64_t layer, const Found& known) {
    if (!known) return;
    const auto last = size(known->config) - 1;
    problems_.require(layer <= last, key,
                      fmt::format("found layer {}, but {} has layers 0 to {}", layer, known->name, last));
  }

  bool check_hidden(const std::string& key, const std::optional<int64_t>& wanted, const Known& known) {
    if (!wanted) return true;
    const auto all = known.config.hidden_size;
    problems_.require(
        *wanted <= all, key,
        fmt::format("found {}, but the hidden size of {} is {}; expected at most that", *wanted, known.name, all));
    return *wanted <= all;
  }

  void check_losses(const std::string& key, const std::vector<distill::LossConfig>& losses, const Found& student,
                    const Found& teacher) {
    for (size_t i = 0; i < losses.size(); ++i) {
      const auto own = join_key(key, i);
      const auto& pairs = losses[i].layers;
      for (size_t p = 0; pairs && p < pairs->size(); ++p) {
        const auto pair = join_key(join_key(own, "layers"), p);
        if ((*pairs)[p].size() != 2) continue;  // told elsewhere
        check_layer(join_key(pair, 0), (*pairs)[p][0], student);
        check_layer(join_key(pair, 1), (*pairs)[p][1], teacher);
      }
      if (losses[i].relation_heads) check_relation_heads(join_key(own, "relation_heads"), losses[i], student, teacher);
    }
  }

  /// Where no layers are named, it is about the last of each model.
  void check_relation_heads(const std::string& key, const distill::LossConfig& loss, const Found& student,
                            const Found& teacher) {
    if (loss.layers || loss.layer_map || *loss.relation_heads < 1) return;
    for (const auto* known : {&student, &teacher}) {
      if (!*known || !(*known)->exact) continue;
      const auto& config = (*known)->config;
      const auto width = config.layers.back().attention.width();
      if (width > 0 && width % *loss.relation_heads == 0) continue;
      return problems_.add(key, fmt::format("found {}, expected a divisor of {}, the width of the queries in the last "
                                            "layer of {}",
                                            *loss.relation_heads, width, (*known)->name));
    }
  }

  Found teacher(const std::string& key, const Reference& reference, const std::vector<distill::LossConfig>& losses) {
    return distill::asks_outputs(losses) ? with_head(key, reference) : model(key, reference);
  }

  Found student(const std::string& key, const distill::StudentConfig& config, Found known) {
    if (!known) return known;
    auto& own = known->config;
    if (config.layers) {
      for (size_t i = 0; i < config.layers->size(); ++i) {
        const auto layer = (*config.layers)[i];
        check_layer(join_key(join_key(key, "layers"), i), layer, known);
        if (layer < 0 || layer >= size(own)) return std::nullopt;
      }
      if (config.layers->empty()) return std::nullopt;
      try {
        own = with_layers(own, *config.layers);
      } catch (const UnsupportedError& error) {
        problems_.add(join_key(key, "layers"), error.what());
        return std::nullopt;
      }
    }
    if (check_hidden(join_key(key, "hidden_size"), config.hidden_size, *known) && config.hidden_size) {
      own = with_hidden_size(own, *config.hidden_size);
    }
    at_most(join_key(key, "num_attention_heads"), config.num_attention_heads, *known, UnitKind::heads, "heads");
    at_most(join_key(key, "intermediate_size"), config.intermediate_size, *known, UnitKind::intermediate, "FFN units");
    problems_.require(
        !config.num_attention_heads || own.positions() != Positions::bias, join_key(key, "num_attention_heads"),
        fmt::format("found with {}, whose attention has a bias for each head; prune heads instead", own.model_type));
    for (auto& layer : own.layers) {
      if (config.num_attention_heads) layer.attention.heads = *config.num_attention_heads;
      if (config.intermediate_size) layer.mlp.units = *config.intermediate_size;
    }
    return known;
  }

  /// What a budget leaves.
  Found cut(const std::string& key, const prune::BudgetConfig& budget, Found known) {
    if (!known) return known;
    auto& config = known->config;
    if (check_hidden(join_key(key, "hidden_size"), budget.hidden_size, *known) && budget.hidden_size) {
      config = with_hidden_size(config, *budget.hidden_size);
    }
    if (budget.counts() && budget.allocation == prune::Allocation::uniform) {
      at_most(join_key(key, "heads"), budget.heads, *known, UnitKind::heads, "heads");
      at_most(join_key(key, "intermediate_size"), budget.intermediate_size, *known, UnitKind::intermediate,
              "FFN units");
      for (auto& layer : config.layers) {
        if (budget.heads) layer.attention.heads = *budget.heads;
        if (budget.intermediate_size) layer.mlp.units = *budget.intermediate_size;
      }
      return known;
    }
    if (budget.counts()) {
      at_most_on_average(join_key(key, "heads"), budget.heads, *known, UnitKind::heads, "heads");
      at_most_on_average(join_key(key, "intermediate_size"), budget.intermediate_size, *known, UnitKind::intermediate,
                         "FFN units");
    }
    const auto most = known->exact ? prune::largest_reduction(config, budget, recipe_.data.max_length) : std::nullopt;
    if (most) {
      const char* name = budget.macs_reduction ? "macs_reduction" : "parameter_reduction";
      const auto wanted = budget.macs_reduction ? *budget.macs_reduction : *budget.parameter_reduction;
      problems_.require(
          wanted <= *most, join_key(key, name),
          fmt::format("found {}, but of {} at most {:.4g} times fewer {} can be left: {}", number_text(wanted),
                      known->name, *most, budget.macs_reduction ? "multiply-adds" : "parameters of heads and FFN units",
                      budget.multiple_of > 1
                          ? fmt::format("a head and {} FFN units of each layer stay, unless "
                                        "whole_blocks is set",
                                        budget.multiple_of)
                          : "a head and an FFN unit of each layer stay, unless whole_blocks is set"));
    }
    known->exact = known->exact && !budget.counts() && !budget.macs_reduction && !budget.parameter_reduction &&
                   !budget.latency_reduction;
    return known;
  }

  void at_most_on_average(const std::string& key, const std::optional<int64_t>& wanted, const Known& known,
                          UnitKind kind, std::string_view what) {
    if (!wanted) return;
    int64_t all = 0;
    for (const auto& layer : known.config.layers) all += units_of(layer, kind);
    problems_.require(
        *wanted * size(known.config) <= all, key,
        fmt::format("found {}, but the layers of {} have {:.4g} {} on average; expected at most that", *wanted,
                    known.name, static_cast<double>(all) / static_cast<double>(size(known.config)), what));
  }

  /// What scores and reconstructions need besides the budget.
  void check_scores(const std::string& key, const prune::ScoreConfig& score, prune::Reconstruction reconstruct,
                    const Found& known) {
    if (score.teacher) with_head(join_key(key, "teacher"), *score.teacher);
    problems_.require(
        score.labels == prune::ScoreLabels::data || traits_of(recipe_.task.type).labels == LabelKind::class_name,
        join_key(key, "labels"),
        fmt::format("found teacher with task {}, expected classification with it", enum_name(recipe_.task.type)));
    if (!known || known->config.shared_layers.empty()) return;
    const auto alone = [&](bool holds, const char* setting, std::string_view found) {
      problems_.require(
          !holds, join_key(key, setting),
          fmt::format("found {}, but the layers of {} share their weights, and can't be {} one by one", found,
                      known->name, setting == std::string_view("importance") ? "scored" : "fitted"));
    };
    alone(score.importance == prune::ImportanceMethod::surgeon, "importance", enum_name(score.importance));
    alone(reconstruct != prune::Reconstruction::none, "reconstruct", enum_name(reconstruct));
  }

  // ---- what each stage makes of its model

  Found result(const std::string& key, const FinetuneConfig& config) {
    auto known = config.of ? model(join_key(key, "of"), *config.of) : base();
    require_trainable(config.of ? join_key(key, "of") : "model.path", known, "trained");
    if (!head_.labels.empty()) {  // once data is read
      const auto problem = unknown_weight(config, head_.labels);
      problems_.require(problem.empty(), join_key(key, "label_weights"), problem);
    }
    return known;
  }

  Found result(const std::string& key, const distill::DistillConfig& config) {
    const auto of_student = join_key(key, "student");
    auto from = model(join_key(of_student, "from"), config.student.from);
    require_trainable(join_key(of_student, "from"), from, "trained");
    auto known = student(of_student, config.student, from);
    if (config.teacher) {
      check_losses(join_key(key, "losses"), config.losses, known,
                   teacher(join_key(key, "teacher"), *config.teacher, config.losses));
    }
    for (size_t t = 0; config.teachers && t < config.teachers->size(); ++t) {
      const auto& teacher = (*config.teachers)[t];
      const auto own = join_key(join_key(key, "teachers"), t);
      const auto& losses = teacher.losses ? *teacher.losses : config.losses;
      check_losses(join_key(teacher.losses ? own : key, "losses"), losses, known,
                   this->teacher(join_key(own, "model"), teacher.model, losses));
    }
    return known;
  }

  Found result(const std::string& key, const prune::PruneConfig& config) {
    auto known = with_head(join_key(key, "of"), config.of);
    require_trainable(join_key(key, "of"), known, "cut");
    check_scores(key, config.score, config.reconstruct.reconstruct, known);
    return cut(key, config.budget, known);
  }

  Found result(const std::string& key, const GradualConfig& config) {
    auto known = with_head(join_key(key, "of"), config.of);
    require_trainable(join_key(key, "of"), known, "cut and trained");
    const auto of_distill = join_key(key, "distill"), of_prune = join_key(key, "prune");
    check_losses(join_key(of_distill, "losses"), config.distill.losses, known,
                 with_head(join_key(of_distill, "teacher"), config.distill.teacher));
    check_scores(of_prune, config.prune.score, config.prune.reconstruct.reconstruct, known);
    auto made = cut(of_prune, config.prune.budget, known);
    if (!made || !known || !config.max_drop) return made;
    known->exact = false;  // it may end before the budget
    return known;
  }

  Found result(const std::string& key, const prune::VocabularyConfig& config) {
    auto known = with_head(join_key(key, "of"), config.of);
    problems_.require(!known || known->trims, join_key(key, "of"),
                      fmt::format("found {}, whose tokenizer is a sentencepiece model alone; expected one with "
                                  "tokenizer.json, vocab.txt or vocab.json",
                                  known ? known->name : ""));
    return known;
  }

  Found result(const std::string& key, const quantize::QuantizeConfig& config) {
    auto known = with_head(join_key(key, "of"), config.of);
    require_trainable(join_key(key, "of"), known, "quantized");
    if (!known) return known;
    if (!config.ignore.empty()) {
      const auto problem = quantize::unmatched(quantize::layer_names(known->config), config.ignore);
      problems_.require(problem.empty(), join_key(key, "ignore"), fmt::format("{} in {}", problem, known->name));
    }
    known->config.linear_format = quantize::format_of(config.scheme);
    known->config.embedding_format = config.embeddings.value_or(known->config.linear_format);
    return known;
  }

  Found result(const std::string& key, const exporter::ExportConfig& config) {
    auto known = with_head(join_key(key, "of"), config.of);
    if (!known || config.runtime != exporter::Runtime::fused) return known;
    const auto lacks = runtime_lacks(known->config);
    problems_.require(lacks.empty(), join_key(key, "runtime"),
                      fmt::format("found fused, which has no kernels for {}; expected portable", lacks));
    return known;
  }

  const Recipe& recipe_;
  const bool pairs_;
  const TaskHead& head_;
  Problems& problems_;
  std::map<std::string, Found> stages_;
  std::map<fs::path, Found> folders_;
  ModelChecks checks_;
};

}  // namespace

ModelChecks check_models(const Recipe& recipe, bool pairs, const TaskHead& head, Problems& problems) {
  return Checker(recipe, pairs, head, problems).run();
}

}  // namespace compression::recipes
