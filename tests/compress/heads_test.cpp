// Every task's head on every model family, against transformers.
#include "compress/base/error.h"
#include "compress/base/fields.h"
#include "compress/families/families.h"
#include "compress/families/name_table.h"
#include "compress/spec/cost.h"
#include "compress/state_dict/state_dict.h"
#include "compress/task/task.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Contains;

/// FAMILY.TASK of goldens/model/heads.
std::vector<std::string> head_names() {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(golden("model/heads"))) {
    if (entry.is_directory()) names.push_back(entry.path().filename().string());
  }
  std::sort(names.begin(), names.end());
  return names;
}

/// Over tokens that are not padding.
torch::Tensor real_part(const torch::Tensor& logits, const torch::Tensor& mask) {
  return logits.dim() < 3 ? logits : logits * mask.unsqueeze(-1);
}

TEST_CASE("every task's head gives the logits and loss of transformers, in each family") {
  const auto name = GENERATE(from_range(head_names()));
  INFO(name);
  const auto expected = golden_tensors("model/heads/" + name + ".safetensors");
  auto model = load_model(golden("model/heads/" + name)).model;
  const auto task = model->config().task;
  CHECK(name.ends_with("." + std::string(enum_name(task))));
  auto batch = golden_batch(expected);
  auto unlabelled = batch;
  unlabelled.labels = torch::Tensor();
  {
    const at::NoGradGuard no_grad;
    check_close(real_part(model->forward(unlabelled).logits, batch.attention_mask),
                real_part(expected.at("logits"), batch.attention_mask), 1e-5);
    if (batch.labels.defined()) {
      const auto loss = label_loss(task, model->forward(batch).logits, batch.labels, batch.attention_mask);
      CHECK(loss.item<double>() == Approx(expected.at("loss").item<double>()).epsilon(1e-5));
    }
    model->set_fused(Arithmetic::float32);
    check_close(real_part(model->forward(unlabelled).logits, batch.attention_mask),
                real_part(expected.at("logits"), batch.attention_mask), 1e-5);
    model->set_fused(std::nullopt);
  }
  int64_t count = 0;
  for (const auto& p : model->parameters()) count += p.numel();
  CHECK(parameter_count(model->config()) == count);

  const TemporaryFolder folder;
  save_model(model, *load_tokenizer(golden("model/tiny")), folder.path());
  const auto saved = read_state_dict(folder.path());
  for (const auto& [name_there, value] : read_state_dict(golden("model/heads/" + name))) {
    if (name_there.find("pooler") != std::string::npos)
      continue;  // the encoder alone has one, which embedding does not use
    const auto base = std::string(find_family(model->config().model_type).base);
    const auto tensor =
        task == TaskType::embedding ? base + "." + name_there : name_there;  // and leaves its own name out
    INFO(tensor);
    REQUIRE(saved.contains(tensor));
    CHECK(torch::equal(saved.at(tensor), value));
  }
  CHECK(load_model(folder.path()).notes.empty());
}

TEST_CASE("a table of words that the file has under its decoder's name alone is found") {
  const auto name = GENERATE(as<std::string>(), "bert.masked_lm", "roberta.masked_lm", "mpnet.masked_lm",
                             "deberta-v2.masked_lm", "distilbert.masked_lm");
  INFO(name);
  const auto from = golden("model/heads/" + name);
  auto whole = load_model(from).model;
  const auto own = checkpoint_names(whole->config());
  auto state = read_state_dict(from);
  auto words = state.extract(own("bert.embeddings.word_embeddings.weight"));
  REQUIRE(words);
  words.key() = own("head.decoder.") + "weight";
  state.insert(std::move(words));
  const TemporaryFolder folder;
  std::filesystem::copy_file(from / "config.json", folder / "config.json");
  write_state_dict(folder.path(), state);
  auto found = load_model(folder.path()).model;
  CHECK(torch::equal(found->encoder->embeddings->tables()[0]->weight, whole->encoder->embeddings->tables()[0]->weight));
  const TaskHead classes{{"a", "b"}, TaskType::classification};
  CHECK(torch::equal(
      load_model(folder.path(), {.head = classes, .new_head = true}).model->encoder->embeddings->tables()[0]->weight,
      whole->encoder->embeddings->tables()[0]->weight));
}

TEST_CASE("the gradients of token-level heads are the same in the fused form") {
  const auto name = GENERATE(as<std::string>(), "bert.token_classification", "bert.question_answering",
                             "bert.masked_lm", "albert.masked_lm", "distilbert.embedding");
  INFO(name);
  auto model = load_model(golden("model/heads/" + name)).model;
  auto batch = golden_batch(golden_tensors("model/heads/" + name + ".safetensors"));
  if (!batch.labels.defined()) batch.labels = torch::tensor({0.5, 0.5, -0.1, -0.1});
  const auto gradients = [&](std::optional<Arithmetic> fused) {
    model->set_fused(fused);
    model->zero_grad();
    label_loss(model->config().task, model->forward(batch).logits, batch.labels, batch.attention_mask).backward();
    std::map<std::string, torch::Tensor> all;
    for (const auto& p : model->named_parameters()) all[p.key()] = p.value().grad().clone();
    return all;
  };
  const auto plain = gradients(std::nullopt), fused = gradients(Arithmetic::float32);
  for (const auto& [parameter, gradient] : plain) {
    INFO(parameter);
    check_close(fused.at(parameter), gradient, 1e-5);
  }
}

TEST_CASE("a checkpoint of one task gets a new head for another, or is refused") {
  const auto folder = golden("model/heads/roberta.token_classification");
  const TaskHead spans{{}, TaskType::question_answering};
  CHECK_THAT(message_of<CheckpointError>([&] { load_model(folder, {.head = spans}); }),
             Contains("its head is for token_classification, not for question_answering; fine-tune it first"));
  for (const auto& [task, name] : enum_names(TaskType{})) {
    INFO(name);
    TaskHead head{{}, task};
    if (task == TaskType::classification || task == TaskType::multi_label) head.labels = {"x", "y"};
    if (task == TaskType::regression) head.labels = {"LABEL_0"};
    if (task == TaskType::token_classification) head.labels = {"O", "B-Y"};
    auto loaded = load_model(folder, {.head = head, .new_head = true});
    CHECK(loaded.model->config().task == task);
    if (task != TaskType::embedding) CHECK_THAT(loaded.notes.at(0), Contains("a new head for"));
    const TemporaryFolder saved;
    save_model(loaded.model, *load_tokenizer(golden("model/tiny")), saved.path());
    CHECK(load_model(saved.path(), {.head = head}).notes.empty());
  }
  const TaskHead tags{{"O", "I-X", "B-X"}, TaskType::token_classification};  // in another order
  CHECK(load_model(folder, {.head = tags}).notes.empty());
}

}  // namespace
}  // namespace compression
