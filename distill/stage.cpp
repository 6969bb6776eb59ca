#include <spdlog/spdlog.h>
#include <torch/types.h>

#include "compress/checkpoint/model_folder.h"  // load_model, save_model
#include "compress/train/autocast.h"           // Autocast
#include "compress/train/trainer.h"            // train_model
#include "compress/workflow/error.h"           // UnsupportedError
#include "distill/config.h"                    // DistillConfig
#include "distill/objective.h"                 // DistillObjective

namespace compression::distill {
namespace {

ModelShape shape_of(const Model& model) {
  return {static_cast<int64_t>(model->config().layers.size()), model->config().hidden_size};
}

class DistillStage : public Stage {
 public:
  explicit DistillStage(DistillConfig config) : config_(std::move(config)) {}

  Artifact run(const Inputs& inputs, Context& context) const override {
    at::manual_seed(context.seed);
    const auto& teacher_folder = inputs.model(config_.teacher).folder;
    const auto& student_folder = inputs.model(config_.student.from).folder;
    const auto labels = inputs.data.labels();
    auto teacher = load_model(teacher_folder, {.labels = labels}).model;
    auto [student, notes] = load_model(student_folder, {.labels = labels, .new_head = true});
    for (const auto& note : notes) context.logger->info("{}: {}", student_folder.string(), note);
    if (config_.student.layers) student = keep_layers(student, *config_.student.layers);

    const auto tokenizer = load_tokenizer(student_folder);
    DistillationLoss loss(config_.losses, shape_of(student), shape_of(teacher));
    loss.to(context.device);
    teacher->to(context.device);
    if (!loss.logits_only() && teacher->config().vocab_size != student->config().vocab_size) {
      throw UnsupportedError(
          fmt::format("losses: the teacher has {} tokens and the student {}: with different tokenizers only logits and "
                      "labels can be learnt from",
                      teacher->config().vocab_size, student->config().vocab_size));
    }
    teacher->set_fused(fused_arithmetic(config_.train, context.device));
    torch::Tensor teacher_logits;
    if (loss.logits_only()) {
      const auto source = inputs.data.batches(Split::train, *load_tokenizer(teacher_folder), {});
      const auto dtype = autocast_dtype(resolve_precision(config_.train, context.device));
      const auto logits = [&](const Batch& batch) {
        const Autocast autocast(dtype, context.device);
        return teacher->forward(batch).logits;
      };
      // Cloned, because tensors made in inference mode can't take part in training.
      teacher_logits = predict(logits, *source, context).clone();
      context.logger->info("the teacher's logits of {} texts are kept in memory", source->size());
    }
    DistillObjective objective(student, teacher, loss, teacher_logits);
    const auto result = train_model(student, objective, *tokenizer, inputs.data, config_.train, context);
    save_model(student, *tokenizer, context.work_folder);
    return {context.work_folder, {{"initialised", notes}, {"training", history_json(result)}}};
  }

 private:
  DistillConfig config_;
};

}  // namespace

std::unique_ptr<Stage> make_stage(const DistillConfig& config) {
  return std::make_unique<DistillStage>(config);
}

}  // namespace compression::distill
