// The folder of a run: nothing of others is lost in it, and what a run that ends early has reached is told.
#include <sys/stat.h>

#include <atomic>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "compress/base/error.h"
#include "compress/base/json_file.h"
#include "recipes/load.h"
#include "recipes/manifest.h"
#include "recipes/run.h"
#include "tests/recipes/tiny_task.h"
#include "tests/support.h"

namespace compression::recipes {
namespace {

using namespace testing;
namespace fs = std::filesystem;

/// A folder as a user may have it: a checkpoint in models/minilm, texts in data/.
struct UserFolder {
  TemporaryFolder root;

  UserFolder() {
    fs::create_directories(root / "models");
    fs::create_directories(root / "data");
    fs::copy(golden("model/tiny"), root / "models/minilm");
    write_texts(root / "data/train.jsonl", 48, 1);
    write_texts(root / "data/validation.jsonl", 20, 2);
  }

  /// Lines 3 and 9 are the output and the first stage's id.
  std::string text(const std::string& output, const std::string& stages) const {
    const auto at = [&](const char* name) { return (root / name).string(); };
    return "version: 1\nname: one\noutput: " + output + "\nmodel: {path: " + at("models/minilm") +
           "}\ndata:\n  max_length: 16\n  train: {path: " + at("data/train.jsonl") +
           "}\n  validation: {path: " + at("data/validation.jsonl") + "}\nstages: \n" + stages;
  }

  static std::string finetune(const std::string& id) {
    return "  - id: " + id + "\n    finetune: {epochs: 1, batch_size: 16}\n";
  }

  std::string refusal(const std::string& text) const {
    try {
      parse_recipe(text, "r.yaml");
      return "";
    } catch (const ConfigError& error) {
      return error.what();
    }
  }
  std::string refusal(const std::string& output, const std::string& id) const {
    return refusal(text(output, finetune(id)));
  }
};

Report run_recipe(const std::string& text, FileCheck files = FileCheck::on) {
  auto context = quiet_context({});
  return run(parse_recipe(text, "r.yaml", {}, files), context);
}

/// Whether a run would skip the first stage.
bool is_up_to_date(const std::string& text) {
  const auto recipe = parse_recipe(text, "r.yaml");
  return plan(recipe, TaskData(recipe.task, recipe.data, recipe.model.path)).front().up_to_date;
}

TEST_CASE("an output folder that is, holds or lies in what is read is refused with its line") {
  const UserFolder user;
  const auto root = user.root.path().string();
  const auto refused = [&](const std::string& output, const std::string& how) {
    INFO(output);
    const auto found = user.refusal(output, "minilm");
    CHECK_THAT(found, Catch::StartsWith("r.yaml:3: output: found ") && Catch::Contains(how));
    auto context = quiet_context({});
    const auto recipe = parse_recipe(user.text(output, user.finetune("minilm")), "r.yaml", {}, FileCheck::off);
    CHECK_THROWS_AS(run(recipe, context), ConfigError);
    CHECK(read_file(user.root / "models/minilm/config.json") == read_file(golden("model/tiny") / "config.json"));
    CHECK_FALSE(fs::exists(user.root / "models/.lock"));
  };
  refused(root + "/models", "which holds model.path");
  refused(root + "/models/", "which holds model.path");
  refused(root, "which holds data.train.path");
  refused(root + "/models/minilm", "which is model.path");
  refused(root + "/models/minilm/runs", "which lies in model.path");
  refused(root + "/data/../models", "which holds model.path");
  refused(root + "/none/../models/minilm", "which is model.path");
  fs::create_directory_symlink(user.root / "models", user.root / "link");
  refused(root + "/link", "which holds model.path");
  refused(root + "/link/minilm/deep/er", "which lies in model.path");
  CHECK(user.refusal(root + "/runs", "minilm").empty());
  CHECK(user.refusal(root + "/models2", "minilm").empty());
  CHECK(user.refusal(root + "/runs/../other", "data").empty());

  fs::create_directories(user.root / "runs");  // where a link to a file stands counts too
  fs::create_symlink(user.root / "data/train.jsonl", user.root / "runs/texts.jsonl");
  auto text = user.text(root + "/runs", user.finetune("minilm"));
  text.replace(text.find("data/train.jsonl"), 16, "runs/texts.jsonl");
  CHECK_THAT(user.refusal(text), Catch::Contains("r.yaml:3: output: ") && Catch::Contains("holds data.train.path"));
}

TEST_CASE("teachers' folders and caches are apart from the output and from what is read too") {
  const UserFolder user;
  const auto root = user.root.path().string();
  fs::create_directories(user.root / "runs/old");
  fs::copy(golden("model/tiny"), user.root / "runs/old/teacher");
  const auto distill = [&](const std::string& more) {
    return "  - id: student\n    distill: {teacher: " + root + "/runs/old/teacher, student: {from: " + root +
           "/models/minilm}, epochs: 1" + more + "}\n";
  };
  CHECK(user.refusal(user.text(root + "/runs/new", distill(""))).empty());
  CHECK_THAT(user.refusal(user.text(root + "/runs/old", distill(""))),
             Catch::StartsWith("r.yaml:3: output: ") && Catch::Contains("holds stages[0].distill.teacher"));
  CHECK(user.refusal(user.text(root + "/runs/new", distill(", teacher_cache: {folder: " + root + "/cache}"))).empty());
  CHECK_THAT(user.refusal(
                 user.text(root + "/runs/new", distill(", teacher_cache: {folder: " + root + "/models/minilm/cache}"))),
             Catch::Contains("stages[0].distill.teacher_cache.folder: ") && Catch::Contains("lies in model.path"));
}

TEST_CASE("what others have put where a run would write is told before any work, and stays") {
  const UserFolder user;
  const auto out = user.root / "out";
  fs::create_directories(out);
  std::string where = "r.yaml:10: stages[0].id: ";
  fs::path kept;
  SECTION("a folder of a stage's name") {
    fs::create_directories(out / "teacher");
    kept = out / "teacher/thesis.txt";
  }
  SECTION("a file of a stage's name") {
    kept = out / "teacher";
  }
  SECTION("a folder with somebody's compress.json") {
    fs::create_directories(out / "teacher");
    write_file(out / "teacher/compress.json", R"({"level": 9})");
    kept = out / "teacher/thesis.txt";
  }
  SECTION("a link to a folder of somebody") {
    fs::create_directories(user.root / "home");
    fs::create_directory_symlink(user.root / "home", out / "teacher");
    kept = out / "teacher/thesis.txt";
  }
  SECTION("the name of a stage that is being written") {
    fs::create_directories(out / ".teacher.tmp");
    kept = out / ".teacher.tmp/thesis.txt";
  }
  SECTION("the name of one that is being replaced") {
    fs::create_directories(out / ".teacher.old");
    kept = out / ".teacher.old/thesis.txt";
  }
  SECTION("the name of a state of training") {
    fs::create_directories(out / ".teacher.resume");
    kept = out / ".teacher.resume/thesis.txt";
  }
  SECTION("a report of somebody") {
    where = "r.yaml:3: output: ";
    kept = out / GENERATE("report.md", "report.svg", "report.json");
  }
  SECTION("a file where the cache belongs") {
    where = "r.yaml:3: output: ";
    kept = out / "cache";
  }
  write_file(kept, "years of work");
  const auto text = user.text(out.string(), user.finetune("teacher"));
  const auto found = user.refusal(text);
  CHECK_THAT(found, Catch::StartsWith(where));
  CHECK(std::count(found.begin(), found.end(), '\n') == 0);
  CHECK_THROWS_AS(run_recipe(text, FileCheck::off), ConfigError);
  CHECK(read_file(kept) == "years of work");
  CHECK_FALSE(fs::exists(out / ".lock"));
}

TEST_CASE("what a run keeps of an unfinished stage is in nobody's way, at whatever instant the process ended") {
  const UserFolder user;
  const auto resume = user.root / "out/.teacher.resume";
  for (const auto* name : {"1", "1.cut", "1.gone", "1.train", ".1.tmp", ".1.cut.tmp", ".1.old"}) {
    fs::create_directories(resume / name);
    write_file(resume / name / "model.safetensors", "half");
  }
  for (const auto* name : {"state-0.safetensors", "state-1.safetensors.partial", "precision.json", "rounds.json"}) {
    write_file(resume / name, "half");
  }
  CHECK(user.refusal((user.root / "out").string(), "teacher").empty());
}

TEST_CASE("a pipe in the place of a report is refused, and nothing waits for it") {
  const UserFolder user;
  fs::create_directories(user.root / "out");
  REQUIRE(::mkfifo((user.root / "out/report.json").c_str(), 0600) == 0);
  CHECK_THAT(user.refusal((user.root / "out").string(), "teacher"),
             Catch::StartsWith("r.yaml:3: output: ") && Catch::Contains("report.json is not a report of ours"));
}

TEST_CASE("a file that others put into a stage's folder keeps it from being made again, not from being skipped") {
  const UserFolder user;
  const auto out = user.root / "out";
  const auto text = user.text(out.string(), user.finetune("teacher"));
  run_recipe(text);
  const std::string name = GENERATE("notes.txt", "rounds/1/notes.txt");
  const auto notes = out / "teacher" / name;
  fs::create_directories(notes.parent_path());
  write_file(notes, "years of work");
  CHECK(is_up_to_date(text));
  auto changed = text;
  changed.replace(changed.find("epochs: 1"), 9, "epochs: 2");
  CHECK_THAT(message_of<ConfigError>([&] { run_recipe(changed); }),
             Catch::Contains("out/teacher/" + name + ": not written by stage `teacher`"));
  CHECK(read_file(notes) == "years of work");
  fs::remove(notes);
  fs::create_symlink(user.root / "elsewhere", notes);
  CHECK_THAT(message_of<ConfigError>([&] { run_recipe(changed); }), Catch::Contains(name + ": not written by"));
  fs::remove(notes);

  fs::rename(out / "teacher", user.root / "elsewhere");  // a finished stage may be moved and linked to
  fs::create_directory_symlink(user.root / "elsewhere", out / "teacher");
  CHECK(is_up_to_date(text));
  CHECK_THAT(message_of<ConfigError>([&] { run_recipe(changed); }),
             Catch::Contains("out/teacher: is there and not of"));
  CHECK(fs::exists(user.root / "elsewhere/model.safetensors"));
}

TEST_CASE("only files that a model is read from decide whether a stage is up to date, and any name may stand beside") {
  const UserFolder user;
  const auto model = user.root / "models/minilm";
  const auto text = user.text((user.root / "out").string(), user.finetune("teacher"));
  write_file(model / "Notiz_\xfc.txt", "a");
  fs::create_directories(model / "1_Pooling");
  write_file(model / "1_Pooling/notes.md", "a");
  run_recipe(text);
  write_file(model / "Notiz_\xfc.txt", "b");
  write_file(model / "README.md", "b");
  write_file(model / ".lock", "");
  write_file(model / "report.json", "{}");
  write_file(model / "1_Pooling/notes.md", "b");
  CHECK(is_up_to_date(text));
  const auto before = list_model_files(model);
  CHECK(before.contains("model.safetensors"));
  CHECK_FALSE(before.contains("README.md"));
  write_file(model / "1_Pooling/config.json", "{}");
  CHECK(list_model_files(model).contains("1_Pooling/config.json"));
  write_file(model / "other.gguf", "");
  CHECK(list_model_files(model).contains("other.gguf"));
  CHECK_FALSE(is_up_to_date(text));
}

TEST_CASE("a run that fails reports the stages that are finished and what became of the others") {
  const UserFolder user;
  const auto out = user.root / "out";
  const std::string end = "  - id: last\n    quantize: {of: teacher}\n";
  const auto text = user.text(
      out.string(), user.finetune("teacher") +
                        "  - id: shipped\n    export: {of: teacher, runtime: fused, tolerance: 1.0e-30}\n" + end);
  const auto message = message_of<CheckpointError>([&] { run_recipe(text); });
  auto report = read_json_file(out / "report.json");
  REQUIRE(report.at("stages").size() == 1);
  CHECK(report.at("stages").at(0).at("id") == "teacher");
  CHECK(report.at("stages").at(0).at("latency_ms").get<double>() > 0);
  CHECK(report.at("format") == 1);
  CHECK(report.at("met") == false);
  CHECK(report.at("error") == "shipped: " + message);
  CHECK(report.at("unfinished") ==
        nlohmann::json::array({{{"id", "shipped"}, {"kind", "export"}, {"state", "failed"}, {"message", message}},
                               {{"id", "last"}, {"kind", "quantize"}, {"state", "not run"}, {"message", ""}}}));
  CHECK_THAT(read_file(out / "report.md"),
             Catch::Contains("| teacher | finetune | ") &&
                 Catch::Contains("| shipped | export | failed: model.pt: its logits differ") &&
                 Catch::Contains("| last | quantize | not run |"));
  CHECK(fs::exists(out / "report.svg"));

  const auto latency = report.at("stages").at(0).at("latency_ms");
  auto mended = text;
  mended.replace(mended.find(", tolerance: 1.0e-30"), 20, "");
  CHECK(run_recipe(mended).error.empty());
  report = read_json_file(out / "report.json");
  CHECK(report.at("stages").size() == 3);
  CHECK(report.at("stages").at(0).at("latency_ms").get<double>() == Approx(latency.get<double>()));
  CHECK(report.at("error").is_null());
  CHECK(report.at("unfinished").empty());
  CHECK(report.at("met") == true);
}

TEST_CASE("a run that fails in its first stage leaves the report of the run before") {
  const UserFolder user;
  const auto out = user.root / "out";
  fs::create_directories(out);
  write_file(out / "report.json", R"({"stages": [], "machine": {}, "met": true})");
  CHECK_THROWS_AS(
      run_recipe(user.text(out.string(), "  - id: narrow\n    prune: {of: " + (user.root / "models/minilm").string() +
                                             ", hidden_size: 64}\n")),
      Error);
  CHECK(read_json_file(out / "report.json").at("stages").empty());
}

TEST_CASE("a run that is stopped reports what is finished without measuring it, and measures it when it goes on") {
  const UserFolder user;
  const auto out = user.root / "out";
  const auto recipe = parse_recipe(
      user.text(out.string(), user.finetune("teacher") + "  - id: pruned\n    prune: {of: teacher, heads: 2}\n"),
      "r.yaml");
  auto context = quiet_context({});
  std::atomic<bool> stop{false};
  context.stop = &stop;
  context.progress = [&](int64_t, int64_t, std::string_view text) {
    if (text == "scoring") stop = true;
  };
  CHECK_THROWS_AS(run(recipe, context), Interrupted);
  auto report = read_json_file(out / "report.json");
  REQUIRE(report.at("stages").size() == 1);
  CHECK(report.at("stages").at(0).at("latency_ms").is_null());
  CHECK(report.at("unfinished").at(0).at("state") == "stopped");
  CHECK_THAT(read_file(out / "report.md"), Catch::Contains("| not measured | not measured |"));
  const auto peak = report.at("stages").at(0).at("peak_memory_bytes");

  stop = false;
  context.progress = [](int64_t, int64_t, std::string_view) {};
  CHECK(run(recipe, context).stages.at(0).skipped);
  report = read_json_file(out / "report.json");
  CHECK(report.at("stages").at(0).at("latency_ms").get<double>() > 0);
  CHECK(report.at("stages").at(0).at("peak_memory_bytes") == peak);
}

TEST_CASE("a report that can't be written does not hide what ended the run") {
  const UserFolder user;
  const auto out = user.root / "out";
  const auto recipe = parse_recipe(
      user.text(out.string(), user.finetune("teacher") + "  - id: pruned\n    prune: {of: teacher, heads: 2}\n"),
      "r.yaml");
  auto context = quiet_context({});
  context.progress = [&](int64_t, int64_t, std::string_view text) {
    if (text != "scoring") return;
    fs::create_directories(out / "report.json");
    throw DataError("the texts are odd");
  };
  CHECK_THROWS_WITH(run(recipe, context), "the texts are odd");
}

}  // namespace
}  // namespace compression::recipes
