// Checkpoints as their authors wrote them: heads, names of classes, tensors too many, numbers that are none.
#include "compress/model_folder/model_folder.h"

#include <cmath>
#include <limits>

#include "compress/base/error.h"
#include "compress/base/fields.h"
#include "compress/base/json_file.h"
#include "compress/engine/read_network.h"
#include "compress/families/families.h"
#include "compress/families/model_config.h"
#include "compress/state_dict/state_dict.h"
#include "tests/support.h"

namespace compression {
namespace {

using namespace testing;
using Catch::Contains;
using nlohmann::json;
using Names = std::vector<std::string>;

/// A checkpoint to be changed and written.
struct Checkpoint {
  json config;
  StateDict state;

  explicit Checkpoint(const std::string& name)
      : config(read_json_file(golden("model/" + name) / "config.json")),
        state(read_state_dict(golden("model/" + name))) {}

  LoadedModel load(const LoadModelOptions& options = {}) const {
    write();
    return load_model(folder->path(), options);
  }
  ModelConfig load_config() const {
    write();
    return load_model_config(folder->path());
  }
  template <class E>
  std::string refusal(const LoadModelOptions& options = {}) const {
    write();
    return message_of<E>([&] { load_model(folder->path(), options); });
  }

  std::shared_ptr<TemporaryFolder> folder = std::make_shared<TemporaryFolder>();

 private:
  void write() const {
    write_file(*folder / "config.json", config.dump());
    write_state_dict(folder->path(), state);
  }
};

Batch some_batch() {
  const auto ids = torch::tensor({{2, 7, 9, 3}, {2, 11, 3, 0}}, torch::kLong);
  return text_batch(ids, (ids != 0).to(torch::kLong), torch::zeros_like(ids), {}, torch::arange(2));
}

torch::Tensor logits_of(Model model) {
  const at::NoGradGuard no_grad;
  return model->forward(some_batch()).logits;
}

TEST_CASE("tensors in excess are ignored, and one line names them") {
  Checkpoint checkpoint("tiny");
  const auto expected = logits_of(checkpoint.load().model);
  CHECK(checkpoint.load().warnings.empty());
  // Of TinyBERT's students, of a weighted loss, scalars, a mask of infinities, an integer type that we do not compute
  // with.
  checkpoint.state["fit_dense.weight"] = torch::ones({3, 32});
  checkpoint.state["loss_fct.weight"] = torch::ones({3});
  checkpoint.state["temperature"] = torch::tensor(1.0);
  checkpoint.state["bert.mask_cache"] = torch::full({4, 4}, -std::numeric_limits<float>::infinity());
  checkpoint.state["bert.steps"] = torch::ones({2}, torch::kUInt16);
  checkpoint.state["bert.encoder.layer.7.output.dense.weight"] = torch::ones({2, 2});
  const auto loaded = checkpoint.load();
  CHECK(torch::equal(logits_of(loaded.model), expected));
  CHECK(loaded.notes.empty());
  CHECK(loaded.warnings == Names{"6 tensors in excess are ignored (bert.encoder.layer.7.output.dense.weight, "
                                 "bert.mask_cache, bert.steps, fit_dense.weight, loss_fct.weight, ...)"});
}

TEST_CASE("buffers of old checkpoints and other heads are not worth a word") {
  Checkpoint checkpoint("tiny");
  const auto expected = logits_of(checkpoint.load().model);
  checkpoint.state["bert.embeddings.position_ids"] = torch::arange(40).unsqueeze(0);
  checkpoint.state["bert.embeddings.token_type_ids"] = torch::zeros({1, 40}, torch::kLong);
  checkpoint.state["cls.seq_relationship.weight"] = torch::ones({2, 32});
  const auto loaded = checkpoint.load();
  CHECK(loaded.warnings.empty());
  CHECK(torch::equal(logits_of(loaded.model), expected));
}

TEST_CASE("a tensor that is missing stays an error, whatever is in excess") {
  Checkpoint checkpoint("tiny");
  checkpoint.state["extra"] = torch::ones({2});
  checkpoint.state.erase("bert.encoder.layer.0.output.dense.weight");
  CHECK_THAT(checkpoint.refusal<CheckpointError>(),
             Contains("1 tensors missing (bert.encoder.layer.0.output.dense.weight)") && !Contains("extra"));
}

TEST_CASE("a checkpoint of any family is read below a prefix, with the old names of LayerNorms") {
  const auto name = GENERATE(from_range(family_names()));
  const auto* prefix = GENERATE("module.", "model.", "");
  INFO(name << " " << prefix);
  Checkpoint checkpoint("families/" + name);
  const auto expected = logits_of(checkpoint.load().model);
  StateDict renamed;
  for (const auto& [key, tensor] : checkpoint.state) {
    auto theirs = key;
    const bool norm = key.find("orm.") != std::string::npos;
    if (norm && key.ends_with(".weight")) theirs = key.substr(0, key.size() - 6) + "gamma";
    if (norm && key.ends_with(".bias")) theirs = key.substr(0, key.size() - 4) + "beta";
    renamed[prefix + theirs] = tensor;
  }
  checkpoint.state = renamed;
  const auto loaded = checkpoint.load();
  CHECK(torch::equal(logits_of(loaded.model), expected));
  const auto told = fmt::format("tensors are read without their prefix \"{}\"", prefix);
  CHECK(loaded.warnings == (std::string_view(prefix).empty() ? Names{} : Names{told}));
}

TEST_CASE("the head is known by its tensors where config.json names no class for it") {
  const auto* name =
      GENERATE("bert.masked_lm", "roberta.masked_lm", "distilbert.masked_lm", "electra.masked_lm", "albert.masked_lm",
               "mpnet.masked_lm", "deberta-v2.masked_lm", "bert.question_answering", "roberta.question_answering",
               "bert.token_classification", "roberta.token_classification", "deberta-v2.token_classification");
  INFO(name);
  Checkpoint checkpoint(std::string("heads/") + name);
  const auto expected = checkpoint.load();
  const auto& config = expected.model->config();
  auto prefix = std::string(find_family(config.model_type).class_prefix);
  for (const json& classes :
       std::initializer_list<json>{nullptr, json::array(), {prefix + "ForPreTraining"}, {"Mine"}}) {
    INFO(classes.dump());
    checkpoint.config["architectures"] = classes;
    const auto loaded = checkpoint.load();
    CHECK(loaded.model->config().task == config.task);
    CHECK(loaded.model->config().labels == config.labels);
    CHECK(loaded.warnings.empty());
    CHECK(torch::equal(logits_of(loaded.model), logits_of(expected.model)));
    CHECK(checkpoint.load_config().task == config.task);
    CHECK(checkpoint.load_config().labels == config.labels);
    // A stage that asks for it takes it as it is.
    const LoadModelOptions wanted{.head = TaskHead{config.labels, config.task}, .new_head = true};
    CHECK(checkpoint.load(wanted).notes.empty());
  }
}

TEST_CASE("a classifier for texts is told from one for tokens by the layer before it") {
  Checkpoint checkpoint("tiny");
  checkpoint.config.erase("architectures");
  CHECK(checkpoint.load().model->config().task == TaskType::classification);
  checkpoint.state.erase("bert.pooler.dense.weight");
  checkpoint.state.erase("bert.pooler.dense.bias");
  CHECK(checkpoint.load().model->config().task == TaskType::token_classification);
  checkpoint.config["architectures"] = {"BertForSequenceClassification"};
  CHECK_THAT(checkpoint.refusal<CheckpointError>(), Contains("2 tensors missing (bert.pooler.dense.bias"));
}

TEST_CASE("a head besides the one that config.json names is found when it is asked for") {
  Checkpoint checkpoint("heads/bert.masked_lm");
  const auto& hidden = checkpoint.config["hidden_size"].get<int64_t>();
  checkpoint.state["qa_outputs.weight"] = torch::rand({2, hidden});
  checkpoint.state["qa_outputs.bias"] = torch::rand({2});
  const auto loaded = checkpoint.load({.head = TaskHead{{}, TaskType::question_answering}});
  CHECK(loaded.notes.empty());
  CHECK(torch::equal(loaded.model->head->classifier->weight, checkpoint.state.at("qa_outputs.weight")));
  CHECK(checkpoint.load().model->config().task == TaskType::masked_lm);

  checkpoint.state["classifier.weight"] = torch::rand({3, hidden});  // of another task, and of this one's name
  const TaskHead classes{{"x", "y"}};
  CHECK(checkpoint.load({.head = classes, .new_head = true}).model->head->classifier->weight.size(0) == 2);
  checkpoint.config["architectures"] = {"BertForQuestionAnswering"};
  CHECK(checkpoint.load({.head = TaskHead{{}, TaskType::masked_lm}}).notes.empty());
}

TEST_CASE("of several heads of which config.json names none, the one that is taken is told") {
  Checkpoint checkpoint("tiny");
  const auto& hidden = checkpoint.config["hidden_size"].get<int64_t>();
  checkpoint.state["qa_outputs.weight"] = torch::rand({2, hidden});
  checkpoint.state["qa_outputs.bias"] = torch::rand({2});
  CHECK(checkpoint.load().warnings.empty());
  checkpoint.config.erase("architectures");
  const auto loaded = checkpoint.load();
  CHECK(loaded.model->config().task == TaskType::classification);
  REQUIRE(loaded.warnings.size() == 1);
  CHECK_THAT(loaded.warnings.front(),
             Contains("there are tensors of 2 heads, qa_outputs.weight, classifier.weight, and "
                      "config.json names no class: the one for classification is taken"));
  CHECK(checkpoint.load({.head = TaskHead{{}, TaskType::question_answering}}).warnings.empty());
}

TEST_CASE("a class that no task of ours has is told where it is taken for embeddings, and its head is not mistaken") {
  Checkpoint checkpoint("tiny");
  checkpoint.config["architectures"] = {"BertForMultipleChoice"};
  checkpoint.config.erase("id2label");
  for (const auto* leaf : {"weight", "bias"}) {
    auto& tensor = checkpoint.state.at(std::string("classifier.") + leaf);
    tensor = tensor.slice(0, 0, 1).clone();
  }
  const auto loaded = checkpoint.load();
  CHECK(loaded.model->config().task == TaskType::embedding);
  CHECK(loaded.warnings == Names{"BertForMultipleChoice has no head of the tasks that are supported, and is taken for "
                                 "an encoder without one, which gives embeddings"});
  CHECK(checkpoint.load({.head = TaskHead{{}, TaskType::embedding}}).warnings.empty());
}

TEST_CASE("labels of a config without a head do not make one") {
  Checkpoint checkpoint("tiny");
  checkpoint.config["architectures"] = {"BertModel"};
  std::erase_if(checkpoint.state, [](const auto& item) { return item.first.starts_with("classifier."); });
  CHECK(checkpoint.load().model->config().task == TaskType::embedding);
  CHECK(checkpoint.load().model->config().labels.empty());
  CHECK(checkpoint.load_config().task == TaskType::embedding);
}

TEST_CASE("the classes are as many as the head has rows, where their names do not say it one by one") {
  Checkpoint checkpoint("tiny");
  checkpoint.config.erase("id2label");
  checkpoint.config.erase("label2id");
  CHECK(checkpoint.load().model->config().labels == Names{"LABEL_0", "LABEL_1", "LABEL_2"});
  checkpoint.config["id2label"] = {{"0", "a"}, {"2", "c"}};
  const auto loaded = checkpoint.load();
  CHECK(loaded.model->config().labels == Names{"a", "LABEL_1", "c"});
  REQUIRE(loaded.warnings.size() == 1);
  CHECK_THAT(loaded.warnings.front(), Contains("config.json: id2label: found names for the ids 0, 2"));
  checkpoint.config["id2label"] = {{"0", "a"}, {"1", "b"}};
  CHECK_THAT(checkpoint.refusal<CheckpointError>(),
             Contains("classifier.weight: found Float [3, 32], expected Float [2"));
}

TEST_CASE("words that are tied to the decoder stand under either name, and a decoder of its own is refused") {
  for (const auto& [name, words, decoder] : std::vector<std::tuple<std::string, std::string, std::string>>{
           {"bert", "bert.embeddings.word_embeddings.weight", "cls.predictions.decoder"},
           {"distilbert", "distilbert.embeddings.word_embeddings.weight", "vocab_projector"},
           {"deberta-v2", "deberta.embeddings.word_embeddings.weight", "cls.predictions.decoder"},
           {"albert", "albert.embeddings.word_embeddings.weight", "predictions.decoder"}}) {
    INFO(name);
    Checkpoint checkpoint("heads/" + name + ".masked_lm");
    const auto expected = logits_of(checkpoint.load().model);
    checkpoint.config["tie_word_embeddings"] = false;  // says nothing that the tensors do not
    checkpoint.state[decoder + ".weight"] = checkpoint.state.at(words).clone();
    CHECK(torch::equal(logits_of(checkpoint.load().model), expected));
    checkpoint.state.erase(words);
    CHECK(torch::equal(logits_of(checkpoint.load().model), expected));
    checkpoint.state[words] = checkpoint.state.at(decoder + ".weight") + 1;
    CHECK_THAT(checkpoint.refusal<UnsupportedError>(),
               Contains("found " + decoder + ".weight that is not the word embeddings"));
    // A new head for another task has no use for it.
    CHECK_NOTHROW(checkpoint.load({.head = TaskHead{{"x", "y"}}, .new_head = true}));
  }
}

TEST_CASE("the bias of the decoder is the one that is computed with") {
  Checkpoint checkpoint("heads/bert.masked_lm");
  const auto expected = logits_of(checkpoint.load().model) + 1;
  checkpoint.state["cls.predictions.decoder.bias"] = checkpoint.state.at("cls.predictions.bias") + 1;
  check_close(logits_of(checkpoint.load().model), expected, 1e-5);
}

TEST_CASE("a model keeps the names of its classes, in the order that the data asks for") {
  Checkpoint checkpoint("tiny");
  checkpoint.config["id2label"] = {{"0", "NO"}, {"1", "Yes"}, {"2", "maybe"}};
  checkpoint.config.erase("label2id");
  const auto logits = logits_of(checkpoint.load().model);
  const auto by_case = checkpoint.load({.head = TaskHead{{"maybe", "no", "yes"}}});
  CHECK(by_case.model->config().labels == Names{"maybe", "NO", "Yes"});
  CHECK(torch::equal(logits_of(by_case.model), logits.index_select(1, torch::tensor({2, 0, 1}))));
  CHECK(by_case.notes.empty());
  REQUIRE(by_case.warnings.size() == 1);
  CHECK_THAT(by_case.warnings.front(), Contains(R"(labels "no", "yes" are taken for "NO", "Yes")"));

  const auto by_number = checkpoint.load({.head = TaskHead{{"0", "1", "2"}}});
  CHECK(by_number.model->config().labels == Names{"NO", "Yes", "maybe"});
  CHECK(torch::equal(logits_of(by_number.model), logits));

  const auto some = checkpoint.load({.head = TaskHead{{"maybe", "NO"}}});
  CHECK(torch::equal(logits_of(some.model), logits.index_select(1, torch::tensor({2, 0}))));
  CHECK(some.warnings == Names{"of its 3 classes the 2 of the data are kept: maybe, NO"});

  CHECK_THAT(checkpoint.refusal<CheckpointError>({.head = TaskHead{{"0", "1"}}}),
             Contains("its head is for 3 classes that are not the data's 2: [NO, Yes, maybe] and [0, 1]"));
}

TEST_CASE("a number that is none is told with file and tensor, in any tensor that is used") {
  const auto* tensor = GENERATE("bert.embeddings.word_embeddings.weight", "bert.encoder.layer.1.output.LayerNorm.bias",
                                "classifier.weight");
  const auto value = GENERATE(std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity());
  Checkpoint checkpoint("tiny");
  checkpoint.state[tensor] = checkpoint.state.at(tensor).clone();
  checkpoint.state[tensor].flatten()[1] = value;
  const auto message = checkpoint.refusal<CheckpointError>();
  CHECK_THAT(message, Contains((*checkpoint.folder / "model.safetensors").string() + ": tensor " + tensor + ": found " +
                               fmt::format("{} at [", value)) &&
                          Contains("expected finite numbers"));
  if (std::string_view(tensor) == "classifier.weight") {  // it is replaced
    CHECK_NOTHROW(checkpoint.load({.head = TaskHead{{"x", "y"}}, .new_head = true}));
  }
}

TEST_CASE("tensors that hold several of ours are told by the names that the file has") {
  const std::string whole = "model.layers.1.attn.Wqkv.weight";
  const auto told = [&](const torch::Tensor& tensor) {
    Checkpoint checkpoint("families/modernbert");
    checkpoint.state.erase(whole);
    if (tensor.defined()) checkpoint.state[whole] = tensor;
    return checkpoint.refusal<CheckpointError>();
  };
  CHECK_THAT(told({}), Contains("1 tensors missing (" + whole + ")"));
  CHECK_THAT(told(torch::ones({71, 24})), Contains("tensor " + whole + ": found [71, 24], expected [72, 24]"));
  CHECK_THAT(told(torch::ones({72, 23})), Contains("tensor " + whole + ": found [72, 23], expected [72, 24]"));
  CHECK_THAT(told(torch::full({72, 24}, std::nan(""))), Contains("model.safetensors: tensor " + whole + ": found nan"));
}

TEST_CASE("weights are held against config.json by their headers") {
  const std::string name = GENERATE("tiny", "families/modernbert", "families/albert", "heads/bert.masked_lm");
  INFO(name);
  Checkpoint checkpoint(name);
  const auto check = [&] { check_weights(checkpoint.folder->path(), checkpoint.load_config()); };
  CHECK_NOTHROW(check());
  const std::string key = name == "families/modernbert" ? "num_hidden_layers" : "intermediate_size";
  const auto more = checkpoint.config.at(key).get<int64_t>() + 1;
  checkpoint.config[key] = more;
  if (name == "families/modernbert") {
    checkpoint.config.erase("layer_types");
    CHECK_THAT(message_of<CheckpointError>(check), Contains("tensors missing (model.layers.4.attn."));
  } else {
    CHECK_THAT(message_of<CheckpointError>(check),
               Contains("tensors that do not fit") && Contains(fmt::format("expected [{}]", more)));
  }
}

TEST_CASE("names of layers to be left in fp32 that no layer has are told, and the others hold") {
  auto model = tiny_model();
  const std::string stays = "bert.encoder.layer.1.output.dense";
  Checkpoint checkpoint("tiny");
  auto config = model->config();
  config.linear_format = WeightFormat::int8;
  config.unquantized = {stays, "lm_head", "bert.encoder.layer.9.output.dense"};
  checkpoint.config = write_model_config(config);
  for (const auto& [name, tensor] : read_state_dict(golden("model/tiny"))) {
    const bool is_int8 = tensor.dim() == 2 && name.find("embeddings") == std::string::npos &&
                         name != "classifier.weight" && name != stays + ".weight";
    if (!is_int8) continue;
    checkpoint.state[name] = torch::zeros(tensor.sizes(), torch::kChar);
    checkpoint.state[name + "_scale"] = torch::ones({tensor.size(0), 1});
  }
  const auto loaded = checkpoint.load();
  REQUIRE(loaded.warnings.size() == 1);
  CHECK_THAT(loaded.warnings.front(), Contains("quantization_config.ignore: found lm_head, "
                                               "bert.encoder.layer.9.output.dense, which no linear layer is called"));
  CHECK(loaded.model->config().unquantized == Names{stays});
  CHECK(loaded.model->encoder->layers[1]->linear(Role::down)->format() == WeightFormat::float32);
  CHECK(NetworkFolder(checkpoint.folder->path()).warnings() == loaded.warnings);
}

TEST_CASE("a number of a file that its format in memory can't hold is told") {
  Checkpoint checkpoint("tiny");
  checkpoint.state["bert.encoder.layer.0.output.dense.weight"] = torch::full({32, 48}, 1e5);
  CHECK_NOTHROW(checkpoint.load());
  checkpoint.config["compress"] = {{"format", 1}, {"weight_format", "fp16"}};
  CHECK_THAT(checkpoint.refusal<CheckpointError>(),
             Contains("layer.0.output.dense.weight: found a number that becomes inf at [0, 0] as Half"));
  checkpoint.config.erase("compress");
  checkpoint.state["classifier.bias"] = torch::full({3}, 1e300, torch::kDouble);
  CHECK_THAT(checkpoint.refusal<CheckpointError>(), Contains("classifier.bias: found a number that becomes inf"));
}

TEST_CASE("a model that is not finite is not saved") {
  const TemporaryFolder folder;
  auto model = tiny_model();
  {
    const at::NoGradGuard no_grad;
    model->encoder->layers[1]->linear(Role::down)->weight[3][5] = std::nan("");
  }
  CHECK_THAT(message_of<DataError>([&] { save_model(model, *load_tokenizer(golden("model/tiny")), folder.path()); }),
             Contains("tensor bert.encoder.layer.1.output.dense.weight: found nan at [3, 5]"));
  CHECK(std::filesystem::is_empty(folder.path()));
}

TEST_CASE("the folder that a model is saved in is made") {
  const TemporaryFolder folder;
  auto model = tiny_model();
  save_model(model, *load_tokenizer(golden("model/tiny")), folder / "new/model");
  CHECK(load_model_config(folder / "new/model").hidden_size == model->config().hidden_size);
  write_file(folder / "file", "");
  CHECK_THROWS_AS(save_model(model, *load_tokenizer(golden("model/tiny")), folder / "file/model"), StorageError);
}

TEST_CASE("heads that transformers has pruned are read as they are") {
  Checkpoint checkpoint("tiny");
  auto model = checkpoint.load().model;
  const auto features = torch::cat({torch::arange(8), torch::arange(16, 32)});  // without head 1 of 4
  for (auto& [name, tensor] : checkpoint.state) {
    if (!name.starts_with("bert.encoder.layer.1.attention.")) continue;
    if (name.find(".self.") != std::string::npos) tensor = tensor.index_select(0, features);
    if (name.ends_with("output.dense.weight")) tensor = tensor.index_select(1, features);
  }
  checkpoint.config["pruned_heads"] = {{"1", {1}}};
  auto pruned = checkpoint.load().model;
  CHECK(pruned->config().layers[1].attention.heads == 3);
  auto mask = torch::ones({4});
  mask[1] = 0;
  model->encoder->layers[1]->head_mask = mask;
  check_close(logits_of(pruned), logits_of(model), 1e-5);
}

}  // namespace
}  // namespace compression
