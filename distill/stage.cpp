#include <spdlog/spdlog.h>
#include <torch/types.h>

#include <algorithm>
#include <set>

#include "compress/checkpoint/model_folder.h"  // load_model, save_model
#include "compress/train/autocast.h"           // Autocast
#include "compress/train/trainer.h"            // train_model
#include "compress/workflow/error.h"           // UnsupportedError, StorageError
#include "compress/workflow/fingerprint.h"     // Fingerprint
#include "distill/config.h"                    // DistillConfig
#include "distill/objective.h"                 // DistillObjective
#include "distill/student.h"                   // keep_layers, select_weights
#include "distill/teacher_cache.h"             // TeacherCache

namespace compression::distill {
namespace {

/// Whether there is one output a text: then the teacher is asked once, with its own tokenizer.
bool is_of_text(TaskType task) {
  return task == TaskType::classification || task == TaskType::multi_label || task == TaskType::regression ||
         task == TaskType::embedding;
}

/// Of such a task.
int64_t logits_width(const ModelConfig& config) {
  return config.task == TaskType::embedding ? config.hidden_size : static_cast<int64_t>(config.labels.size());
}

/// What a teacher's logits follow from: its files, the texts as it reads them, and the arithmetic.
std::string cache_key(const std::filesystem::path& folder, const BatchSource& source, Precision precision) {
  Fingerprint all;
  std::set<std::filesystem::path> files = {folder / "config.json"};
  for (const auto& entry : std::filesystem::directory_iterator(folder)) {
    if (entry.path().extension() == ".safetensors") files.insert(entry.path());
  }
  for (const auto& file : files) all.add(file_fingerprint(file));
  all.add(enum_name(precision));
  for (const auto& examples : source.plan(0)) {
    const auto batch = source.collate(examples);
    for (const auto& tensor : {batch.input_ids, batch.attention_mask, batch.token_type_ids, batch.examples}) {
      all.add(tensor.data_ptr(), tensor.nbytes());
    }
  }
  return all.text();
}

/// The teacher's logits of all training texts, from the cache if it has them: [texts, classes].
torch::Tensor teacher_logits(Model& teacher, const std::filesystem::path& folder, const Inputs& inputs,
                             const DistillConfig& config, const Context& context) {
  const auto source = inputs.data.batches(Split::train, *load_tokenizer(folder), {.unlabelled = true});
  const auto precision = resolve_precision(config.train, context.device);
  const auto name = folder.string();
  const auto megabytes =
      static_cast<double>(source->size()) * static_cast<double>(logits_width(teacher->config())) * 4e-6;
  const auto cache_folder = config.teacher_cache.folder.value_or(context.cache_folder);
  const bool cached = config.teacher_cache.max.bytes > 0 && !cache_folder.empty();
  const TeacherCache cache(cache_folder, config.teacher_cache.max.bytes);
  const auto key = cached ? cache_key(folder, *source, precision) : std::string();
  if (cached) {
    if (auto kept = cache.find(key)) {
      context.logger->info("{}: its logits of {} texts are in {}", name, source->size(), cache.file(key).string());
      return kept->clone();
    }
    context.logger->info("{}: its logits of {} texts ({:.1f} MB) will be kept in {}", name, source->size(), megabytes,
                         cache.file(key).string());
  }
  const auto dtype = autocast_dtype(precision);
  const auto forward = [&](const Batch& batch) {
    const Autocast autocast(dtype, context.device);
    return teacher->forward(batch).logits;
  };
  // Cloned, because tensors made in inference mode can't take part in training.
  auto logits = predict(forward, *source, context).clone();
  if (cached) {
    try {
      if (!cache.keep(key, logits)) context.logger->warn("teacher_cache.max is too small for {:.1f} MB", megabytes);
    } catch (const StorageError& error) {
      context.logger->warn("the teacher's logits are kept in memory only: {}", error.what());
    }
  }
  return logits;
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
    for (const auto& config : configs) {
      // A teacher whose outputs nobody asks for needs no head for the task: a pretrained encoder will do.
      const bool asks_outputs = std::ranges::any_of(losses(config), [](const LossConfig& loss) {
        return loss.type == LossType::logits && loss.weight > 0;
      });
      folders.push_back(inputs.model(config.model).folder);
      auto model = load_model(folders.back(), {.head = head, .new_head = !asks_outputs}).model;
      teachers.push_back({.model = std::move(model), .weight = config.weight});
    }

    auto [student, notes] = load_model(student_folder, {.head = head, .new_head = true});
    for (const auto& note : notes) context.logger->info("{}: {}", student_folder.string(), note);
    const auto& from = config_.student;
    if (from.layers) student = keep_layers(student, *from.layers);
    if (from.hidden_size || from.num_attention_heads || from.intermediate_size) {
      student = select_weights(student, {from.hidden_size, from.num_attention_heads, from.intermediate_size});
    }

    const auto tokenizer = load_tokenizer(student_folder);
    for (size_t i = 0; i < teachers.size(); ++i) {
      auto& [model, loss, logits, weight] = teachers[i];
      loss = DistillationLoss(losses(configs[i]), shape_of(student), shape_of(model), head.task);
      loss.to(context.device);
      model->to(context.device);
      model->set_fused(fused_arithmetic(config_.train, context.device));
      if (!loss.logits_only() || !is_of_text(head.task)) {
        check_same_tokens(*tokenizer, *load_tokenizer(folders[i]), folders[i]);
        continue;
      }
      logits = teacher_logits(model, folders[i], inputs, config_, context);
      model = Model(nullptr);
    }
    DistillObjective objective(student, std::move(teachers));
    const auto result =
        train_model(student, objective, *tokenizer, WithUnlabelled(inputs.data), config_.train, context);
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
