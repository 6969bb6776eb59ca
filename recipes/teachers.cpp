#include "recipes/teachers.h"

#include <fmt/format.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "compress/base/failure.h"                 // is_out_of_memory
#include "compress/base/json_file.h"               // read_json_file
#include "compress/tokenizer/sentence_settings.h"  // transformer_folder

namespace compression::recipes {
namespace {

namespace fs = std::filesystem;

/// The model that a stage changes; null: the recipe's.
const Reference* changed(const FinetuneConfig& config) {
  return config.of ? &*config.of : nullptr;
}
const Reference* changed(const distill::DistillConfig& config) {
  return &config.student.from;
}
template <class Config>
const Reference* changed(const Config& config) {
  return &config.of;
}

/// The checkpoint that a model goes back to, and the last stage on the way that cut its vocabulary.
struct Origin {
  fs::path folder;
  std::string cut_by;

  bool operator==(const Origin&) const = default;
};

Origin origin_of(const Recipe& recipe, const Reference* reference) {
  Origin origin;
  auto end = recipe.stages.end();  // a stage names earlier ones only
  while (reference != nullptr) {
    const auto stage =
        std::find_if(recipe.stages.begin(), end, [&](const StageEntry& s) { return s.id == reference->name; });
    if (stage == end) {
      origin.folder = reference->name;
      return origin;
    }
    if (origin.cut_by.empty() && std::holds_alternative<prune::VocabularyConfig>(stage->config)) {
      origin.cut_by = stage->id;
    }
    reference = std::visit([](const auto& config) { return changed(config); }, stage->config);
    end = stage;
  }
  origin.folder = recipe.model.path;
  return origin;
}

struct Family {
  std::string name, vocabulary;  // "bert", "30522 tokens"

  bool operator==(const Family&) const = default;
  std::string text() const { return fmt::format("{} with {}", name, vocabulary); }
};

std::optional<Family> family_of(const Origin& origin) {
  try {
    const auto config = read_json_file(transformer_folder(origin.folder) / "config.json");
    return Family{config.at("model_type").get<std::string>(),
                  fmt::format("{} tokens{}", config.at("vocab_size").get<int64_t>(),
                              origin.cut_by.empty() ? "" : fmt::format(" less those that {} cut", origin.cut_by))};
  } catch (const std::exception& error) {
    if (is_out_of_memory(error)) throw;
    return std::nullopt;
  }
}

std::string losses_on_tokens(const std::vector<distill::LossConfig>& losses, const std::string& key) {
  for (size_t i = 0; i < losses.size(); ++i) {
    const auto type = losses[i].type;
    if (type != distill::LossType::logits && type != distill::LossType::labels) return join_key(key, i) + ".type";
  }
  return "";
}

}  // namespace

std::vector<OtherFamily> teachers_of_other_families(const Recipe& recipe) {
  std::vector<OtherFamily> found;
  for (size_t i = 0; i < recipe.stages.size(); ++i) {
    const auto& stage = recipe.stages[i];
    const auto compare = [&](const Reference& student, const Reference& teacher, const std::string& key,
                             const std::vector<distill::LossConfig>& losses, const std::string& losses_key) {
      const auto own = origin_of(recipe, &student), other = origin_of(recipe, &teacher);
      if (own == other) return;
      const auto student_family = family_of(own), teacher_family = family_of(other);
      if (!student_family || !teacher_family || *student_family == *teacher_family) return;
      const bool same_tokens = student_family->vocabulary == teacher_family->vocabulary;
      found.push_back({key, stage.id, fmt::format("{}, the student {}", teacher_family->text(), student_family->text()),
                       same_tokens ? "" : losses_on_tokens(losses, losses_key)});
    };
    const auto at = fmt::format("stages[{}].", i);
    if (const auto* config = std::get_if<distill::DistillConfig>(&stage.config)) {
      const auto& from = config->student.from;
      const auto key = at + "distill.";
      if (config->teacher) {
        compare(from, *config->teacher, key + "teacher", config->losses, key + "losses");
      }
      for (size_t t = 0; config->teachers && t < config->teachers->size(); ++t) {
        const auto& teacher = (*config->teachers)[t];
        const auto own = join_key(key + "teachers", t);
        compare(from, teacher.model, own + ".model", teacher.losses ? *teacher.losses : config->losses,
                (teacher.losses ? own + "." : key) + "losses");
      }
    } else if (const auto* gradual = std::get_if<GradualConfig>(&stage.config)) {
      const auto key = at + "gradual.distill.";
      compare(gradual->of, gradual->distill.teacher, key + "teacher", gradual->distill.losses, key + "losses");
    }
  }
  return found;
}

}  // namespace compression::recipes
