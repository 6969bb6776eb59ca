#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>

#include "compress/base/error.h"                 // UnsupportedError, StorageError
#include "compress/model_folder/model_folder.h"  // load_model, save_model
#include "compress/train/precision.h"            // autocast_dtype, fused_arithmetic
#include "compress/train/trainer.h"              // train_model
#include "distill/config.h"                      // DistillConfig
#include "distill/objective.h"                   // DistillObjective
#include "distill/student.h"                     // keep_layers, select_weights
#include "distill/teacher_cache.h"               // TeacherCache
#include "distill/teacher_outputs.h"             // TeacherOutputs

namespace compression::distill {
namespace {

/// What the teacher says of all training texts, from the cache if it has it. Nothing where that would take more than
/// the cache may: logits alone are kept in memory then, with hidden states the teacher has to run for every batch.
std::optional<TeacherOutputs> outputs_of(Model& teacher, const std::filesystem::path& folder, bool new_head,
                                         bool hidden_states, Precision precision, const Inputs& inputs,
                                         const DistillConfig& config, const Context& context) {
  const auto source = inputs.data.batches(Split::train, *load_tokenizer(folder), {.unlabelled = true});
  const auto cache_folder = config.teacher_cache.folder.value_or(context.cache_folder);
  const TeacherCache cache(cache_folder, cache_folder.empty() ? 0 : config.teacher_cache.max.bytes);
  const auto bytes = teacher_output_bytes(teacher->config(), hidden_states, *source);
  const auto what = fmt::format("{}: its {} of {} texts ({:.1f} MB)", folder.string(),
                                hidden_states ? "logits and hidden states" : "logits", source->size(),
                                static_cast<double>(bytes) * 1e-6);
  const auto compute = [&] {
    return teacher_outputs(teacher, hidden_states, *source, autocast_dtype(precision), context);
  };
  if (bytes > cache.max_bytes()) {
    if (cache.max_bytes() > 0) context.logger->warn("{} are not kept: teacher_cache.max is too small", what);
    return hidden_states ? std::nullopt : std::optional(compute());
  }
  const bool fused = config.train.fused && context.device.is_cpu();
  const auto key =
      teacher_key(folder, inputs.data.head(), new_head ? std::optional(context.seed) : std::nullopt, hidden_states,
                  *source, fmt::format("{} {} {}", enum_name(precision), fused, context.device.str()));
  if (const auto kept = cache.find(key); kept && kept->contains("logits")) {
    context.logger->info("{} are in {}", what, cache.file(key).string());
    return TeacherOutputs::from_tensors(*kept);
  }
  context.logger->info("{} will be kept in {}", what, cache.file(key).string());
  auto outputs = compute();
  try {
    cache.keep(key, outputs.tensors());
  } catch (const StorageError& error) {
    context.logger->warn("what the teacher says is kept in memory only: {}", error.what());
  }
  return outputs;
}

/// The task's data, whose training split has the texts without labels too.
class WithUnlabelled : public DataProvider {
 public:
  explicit WithUnlabelled(const DataProvider& data) : data_(data) {}
  bool has(Split split) const override { return data_.has(split); }
  const TaskHead& head() const override { return data_.head(); }
  int64_t max_length() const override { return data_.max_length(); }
  std::shared_ptr<const BatchSource> batches(Split split, const Tokenizer& tokenizer,
                                             const BatchOptions& options) const override {
    auto with = options;
    with.unlabelled = true;
    return data_.batches(split, tokenizer, with);
  }

 private:
  const DataProvider& data_;
};

class DistillStage : public Stage {
 public:
  explicit DistillStage(DistillConfig config) : config_(std::move(config)) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    at::manual_seed(context.seed);
    const auto& student_folder = inputs.model(config_.student.from).folder;
    const auto& head = inputs.data.head();
    auto configs = config_.teachers.value_or(std::vector<TeacherConfig>{});
    if (config_.teacher) configs.push_back({.model = *config_.teacher});
    std::vector<Teacher> teachers;
    std::vector<std::filesystem::path> folders;
    std::vector<bool> new_heads;
    for (const auto& config : configs) {
      folders.push_back(inputs.model(config.model).folder);
      const LoadModelOptions options{.head = head, .new_head = !asks_outputs(losses(config))};  // an encoder may do
      auto [model, notes, warnings] = load_model(folders.back(), options, context);
      teachers.push_back({.model = std::move(model), .weight = config.weight});
      new_heads.push_back(!notes.empty());
    }

    auto [student, notes, warnings] = load_model(student_folder, {.head = head, .new_head = true}, context);
    const auto& from = config_.student;
    if (from.layers) student = keep_layers(student, *from.layers);
    if (from.hidden_size || from.num_attention_heads || from.intermediate_size) {
      student = select_weights(student, {from.hidden_size, from.num_attention_heads, from.intermediate_size});
    }

    const auto tokenizer = load_tokenizer(student_folder);
    const WithUnlabelled data(inputs.data);
    // One for the teachers too, whose outputs are kept under its name.
    const auto precision =
        choose_precision(config_.train, *student, *training_batches(*tokenizer, data, config_.train, context), context);
    auto train = config_.train;
    train.precision = precision.precision;
    for (size_t i = 0; i < teachers.size(); ++i) {
      auto& [model, loss, outputs, weight] = teachers[i];
      loss = DistillationLoss(losses(configs[i]), shape_of(student), shape_of(model), head.task);
      loss.to(context.device);
      model->to(context.device);
      model->set_fused(fused_arithmetic(train, context.device));
      const bool of_text =
          traits_of(head.task).is_of_text();  // then the teacher may be asked once, with its own tokenizer
      if (!of_text || !loss.logits_only()) check_same_tokens(*tokenizer, *load_tokenizer(folders[i]), folders[i]);
      const auto needs = loss.capture();
      if (!of_text || needs.attentions || needs.projections) continue;
      outputs =
          outputs_of(model, folders[i], new_heads[i], needs.hidden_states, train.precision, inputs, config_, context);
      if (outputs) model = Model(nullptr);
    }
    DistillObjective objective(student, std::move(teachers));
    const auto result = train_model(student, objective, *tokenizer, data, config_.train, context, precision);
    save_model(student, *tokenizer, context.work_folder);
    return {context.work_folder, {{"initialised", notes}, {"training", history_json(result)}}};
  }

 private:
  const std::vector<LossConfig>& losses(const TeacherConfig& teacher) const {
    return teacher.losses ? *teacher.losses : config_.losses;
  }

  /// Hidden states and attention maps are compared token by token: both models have to see the same ones.
  static void check_same_tokens(const Tokenizer& student, const Tokenizer& teacher,
                                const std::filesystem::path& folder) {
    const TextInput probe{"The quick brown fox, naïve & 12,345 – jumps over Ünïcödé dogs; isn't it?", "A second text."};
    const auto ids = [&](const Tokenizer& tokenizer) { return tokenizer.encode(probe, {}).input_ids; };
    if (student.vocabulary_size() == teacher.vocabulary_size() && ids(student) == ids(teacher)) return;
    throw UnsupportedError(
        fmt::format("losses: the teacher {} has another tokenizer than the student: found losses on tokens, "
                    "expected logits and labels of whole texts only",
                    folder.string()));
  }

  DistillConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const DistillConfig& config) {
  return std::make_unique<DistillStage>(config);
}

}  // namespace compression::distill
