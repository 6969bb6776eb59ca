#pragma once
// Settings of the distillation stage.

#include <array>
#include <filesystem>
#include <memory>
#include <optional>
#include <vector>

#include "compress/base/byte_size.h"  // ByteSize
#include "compress/train/config.h"    // TrainConfig
#include "compress/workflow/stage.h"  // Stage
#include "distill/losses.h"           // Distance

namespace compression::distill {

enum class LossType { logits, labels, hidden_states, embeddings, attentions, relations };
constexpr std::array<std::pair<LossType, std::string_view>, 6> enum_names(LossType) {
  return {{{LossType::logits, "logits"},
           {LossType::labels, "labels"},
           {LossType::hidden_states, "hidden_states"},
           {LossType::embeddings, "embeddings"},
           {LossType::attentions, "attentions"},
           {LossType::relations, "relations"}}};
}

/// The distances that a loss knows, its default first; empty where it has no choice.
std::vector<Distance> distances(LossType type);

/// Which layer of the student learns from which of the teacher.
enum class LayerMap { uniform, last, minimum_distance };
constexpr std::array<std::pair<LayerMap, std::string_view>, 3> enum_names(LayerMap) {
  return {{{LayerMap::uniform, "uniform"}, {LayerMap::last, "last"}, {LayerMap::minimum_distance, "minimum_distance"}}};
}

struct LossConfig {
  LossType type = LossType::logits;
  double weight = 1.0;
  std::optional<Distance> distance;
  double temperature = 2.0;
  std::optional<std::vector<std::vector<int64_t>>> layers;
  std::optional<LayerMap> layer_map;
  std::optional<int64_t> relation_heads;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("type", self.type,
          "logits: KL of softened outputs, or what fits the task; labels: the task's loss on labels; hidden_states; "
          "embeddings; attentions: maps of probabilities; "
          "relations: of queries, keys and values, each among themselves (MiniLMv2)",
          Presence::required);
    visit("weight", self.weight, "Share in the sum of losses");
    visit(
        "distance", self.distance,
        "logits: kl (the default), cross_entropy, mse; hidden_states and embeddings: mse (the default), normalized_mse "
        "(SquareHead: divided by the teacher's own square), cosine; "
        "attentions: mse (the default), kl, cosine");
    visit("temperature", self.temperature,
          "Of logits, kl and cross_entropy: divides both models' logits; the loss is multiplied by its square");
    visit("layers", self.layers, "Pairs [student layer, teacher layer], from 0, in place of layer_map");
    visit(
        "layer_map", self.layer_map,
        "uniform: evenly spread, the default; last: last to last, the default of relations (of the last layer alone); "
        "minimum_distance: each of the teacher's layers that uniform names teaches the student's nearest, chosen anew "
        "for every text (CoFi), for hidden_states");
    visit("relation_heads", self.relation_heads,
          "Heads that queries, keys and values are dealt out to; the heads of the teacher's layer if absent");
  }
};
void validate(const LossConfig& config, Problems& problems);

/// Whether any is on the teacher's outputs, for which it needs a head for the task.
bool asks_outputs(const std::vector<LossConfig>& losses);

struct StudentConfig {
  Reference from;
  std::optional<std::vector<int64_t>> layers;
  std::optional<int64_t> hidden_size, num_attention_heads, intermediate_size;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("from", self.from, "The model that the student starts as", Presence::required);
    visit("layers", self.layers, "Layers of it to keep, from 0, in this order; all if absent");
    visit("hidden_size", self.hidden_size, "Hidden dimensions to keep, evenly spaced; all if absent");
    visit("num_attention_heads", self.num_attention_heads,
          "Heads to keep in every layer, evenly spaced; all if absent");
    visit("intermediate_size", self.intermediate_size,
          "FFN units to keep in every layer, evenly spaced; all if absent");
  }
};
void validate(const StudentConfig& config, Problems& problems);

struct TeacherConfig {
  Reference model;
  double weight = 1.0;
  std::optional<std::vector<LossConfig>> losses;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("model", self.model, "A model to learn from", Presence::required);
    visit("weight", self.weight, "Its share in the mean over teachers");
    visit("losses", self.losses, "What is learnt from this one; the stage's losses if absent");
  }
};
void validate(const TeacherConfig& config, Problems& problems);

struct TeacherCacheConfig {
  std::optional<std::filesystem::path> folder;
  ByteSize max = {1'000'000'000};

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("folder", self.folder,
          "Where runs keep teachers' outputs for each other; the run's own folder cache if absent");
    visit("max", self.max,
          "Size of the folder; what was not used for longest goes first, and what is larger alone is not kept. 0B: "
          "nothing is");
  }
};

struct DistillConfig {
  static constexpr std::string_view kind = "distill";

  std::optional<Reference> teacher;
  std::optional<std::vector<TeacherConfig>> teachers;
  StudentConfig student;
  std::vector<LossConfig> losses = {LossConfig{}};
  TeacherCacheConfig teacher_cache;
  TrainConfig train;

  template <class Self, class Visitor>
  static void fields(Self& self, Visitor&& visit) {
    visit("teacher", self.teacher, "The model to learn from");
    visit("student", self.student, "The model that learns", Presence::required);
    visit("losses", self.losses, "What is minimised: the weighted sum of these");
    visit("teachers", self.teachers, "Several models to learn from, in place of teacher");
    visit("teacher_cache", self.teacher_cache,
          "Logits and hidden states of teachers, kept where the losses need nothing else of them");
    TrainConfig::fields(self.train, visit);
  }
};
void validate(const DistillConfig& config, Problems& problems);

std::unique_ptr<Stage> make_stage(const DistillConfig& config);

}  // namespace compression::distill
