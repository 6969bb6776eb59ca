#include "recipes/reference.h"

#include <map>
#include <typeindex>

#include "compress/base/config_json.h"  // value_json
#include "recipes/recipe.h"             // Recipe
#include "recipes/text.h"               // listed, did_you_mean, in_quotes
#include "recipes/write.h"              // yaml_flow

namespace compression::recipes {
namespace {

struct Row {
  std::string key, type, initial, meaning;
  bool required;
};

/// The keys of one map: "distill", "distill.losses[]".
struct Section {
  std::string name;
  bool is_stage = false;
  std::vector<Row> rows = {};
};

template <class T>
std::string type_label(bool plural) {
  const auto word = [&](std::string_view singular) { return std::string(singular) + (plural ? "s" : ""); };
  if constexpr (OptionalValue<T>) {
    return type_label<typename T::value_type>(plural);
  } else if constexpr (std::same_as<T, std::vector<StageEntry>>) {
    return "list of maps of `id` and a kind of stage";
  } else if constexpr (ListValue<T>) {
    return word("list") + " of " + type_label<typename T::value_type>(true);
  } else if constexpr (MapValue<T>) {
    return word("map") + " of names to " + type_label<typename T::mapped_type>(true);
  } else if constexpr (Config<T>) {
    return word("map");
  } else if constexpr (NamedEnum<T>) {
    std::string names;
    for (const auto& [value, name] : enum_names(T{})) names += (names.empty() ? "`" : ", `") + std::string(name) + "`";
    return names;
  } else if constexpr (TextValue<T>) {
    return std::string(T::type_name);
  } else if constexpr (std::same_as<T, bool>) {
    return "`true`, `false`";
  } else if constexpr (std::integral<T>) {
    return word("integer");
  } else if constexpr (std::floating_point<T>) {
    return word("number");
  } else if constexpr (std::same_as<T, std::filesystem::path>) {
    return word("path");
  } else {
    return word("text");
  }
}

/// What is taken if the key is not there; nothing for maps, whose keys have their own.
template <class T>
std::string initial_value(const T& value) {
  if constexpr (OptionalValue<T> || Config<T>) {
    return "";
  } else {
    const auto json = value_json<nlohmann::ordered_json>(value);
    return json.empty() ? "" : yaml_flow(json);
  }
}

class Collector {
 public:
  template <Config T>
  void add(const std::string& name, const T& config, bool is_stage = false) {
    described_.emplace(typeid(T), name);
    const size_t index = sections_.size();
    sections_.push_back({name, is_stage});
    const std::string prefix = name == "recipe" ? "" : name;
    T::fields(config, [&]<class V>(std::string_view key, const V& value, std::string_view meaning,
                                   Presence presence = Presence::optional) {
      const bool required = presence == Presence::required;
      sections_[index].rows.push_back({std::string(key), type_label<V>(false), required ? "" : initial_value(value),
                                       std::string(meaning), required});
    });
    T::fields(config, [&](std::string_view key, const auto& value, std::string_view, Presence = Presence::optional) {
      add_nested(join_key(prefix, key), value, index);
    });
  }

  std::vector<Section> take() { return std::move(sections_); }

 private:
  template <class T>
  void add_nested(const std::string& name, const T& value, size_t parent) {
    if constexpr (OptionalValue<T>) {
      add_nested(name, typename T::value_type{}, parent);
    } else if constexpr (std::same_as<T, std::vector<StageEntry>>) {
      for_each_stage_type([&]<class S>(std::type_identity<S>) { add(std::string(S::kind), S{}, true); });
    } else if constexpr (ListValue<T>) {
      if constexpr (Config<typename T::value_type>) add_nested(name + "[]", typename T::value_type{}, parent);
    } else if constexpr (Config<T>) {
      const auto [known, is_new] = described_.emplace(typeid(T), name);
      if (is_new) {
        add(name, value);
      } else {
        row_of(parent, name).type += ", keys as `" + known->second + "`";
      }
    }
  }

  Row& row_of(size_t section, std::string name) {
    if (name.ends_with("[]")) name.resize(name.size() - 2);
    for (Row& row : sections_[section].rows) {
      if (name.ends_with("." + row.key) || name == row.key) return row;
    }
    return sections_[section].rows.back();
  }

  std::vector<Section> sections_;
  std::map<std::type_index, std::string> described_;
};

std::vector<Section> all_sections() {
  Collector collector;
  collector.add("recipe", Recipe{});
  return collector.take();
}

/// Text of a cell of a Markdown table.
std::string cell(const std::string& text) {
  std::string escaped;
  for (char c : text) escaped += c == '|' ? std::string("\\|") : std::string(1, c);
  return escaped;
}

std::string code(const std::string& text) {
  return text.empty() ? "" : "`" + cell(text) + "`";
}

std::string markdown(const Section& section) {
  const bool nested = section.name.find('.') != std::string::npos;
  std::string out =
      (nested ? "\n### `" : "\n## `") + section.name + "`" + (section.is_stage ? ": a stage" : "") + "\n\n";
  out += "| key | type | default | meaning |\n|---|---|---|---|\n";
  for (const Row& row : section.rows) {
    out += "| `" + row.key + "` | " + cell(row.type) + " | " + (row.required ? "required" : code(row.initial)) + " | " +
           cell(row.meaning) + " |\n";
  }
  return out;
}

std::string without_ticks(std::string text) {
  std::erase(text, '`');
  return text;
}

std::string plain_text(const Section& section) {
  std::string out = section.name + (section.is_stage ? ": a stage of a recipe\n" : "\n");
  for (const Row& row : section.rows) {
    out += "  " + row.key + "  (" + without_ticks(row.type) + (row.required ? ", required" : "") +
           (row.initial.empty() ? "" : ", default " + row.initial) + ")\n      " + row.meaning + "\n";
  }
  return out;
}

constexpr std::string_view kSample = R"(version: 1
name: news-minilm
seed: 17
output: runs/${name}
model: {path: models/all-MiniLM-L6-v2}
task: {type: classification, metric: accuracy}
data:
  max_length: 256
  train: {path: data/train.jsonl, text: text, label: label}
  validation: {path: data/dev.jsonl, text: text, label: label}
  test: {path: data/test.jsonl, text: text, label: label}
stages:
  - id: teacher
    finetune: {epochs: 3, learning_rate: 1.0e-4, batch_size: 32}
  - id: student
    distill: {teacher: teacher, student: {from: teacher, layers: [1, 3, 5]}, losses: [{type: logits, temperature: 2.0}]}
  - id: pruned
    prune: {of: student, importance: first_order, heads: 6, intermediate_size: 512}
  - id: recovered
    distill: {teacher: teacher, student: {from: pruned}}
  - id: int8
    quantize: {of: recovered, scheme: int8_dynamic}
  - id: shipped
    export: {of: int8, runtime: fused}
goals:
  accuracy: {relative_to: teacher, max_drop: 0.01}
  size: {max: 30MB}
)";

constexpr std::string_view kBeforeSample = R"(# Recipes

This page is made from the code (`recipes/reference.cpp`); a test compares the two.

A recipe is a YAML file that says which model to begin with, which texts to use, what to do in which order, and what must
hold at the end:

```yaml
)";

constexpr std::string_view kAfterSample = R"(```

`compress explain recipe.yaml` shows a recipe with every default written out, and `compress run recipe.yaml` runs it.

## Rules

- **Stages** run in order. Each is a map with an `id` and one key that says its kind. A stage names models by `of`, `from`
  or `teacher`: the id of an earlier stage, or a checkpoint folder (a folder with a `config.json`). What an `export` stage
  makes is a file to ship, which no later stage can take.
- **Paths** are relative to the folder that the program runs in, not to the recipe. `~` and `~/...` begin in the user's own folder
  (`HOME`); a folder called `~` is `./~`. `output` is apart from everything that the recipe reads: it neither is, nor holds, nor lies in
  it.
- **Unknown keys**, keys that are there twice, values of another type and values out of range are errors. All are told at
  once, with their lines, before anything runs. A number in quotes is a text; `true` and `false` are the only booleans.
- **Nothing**: a key without a value (`heads:`, or `heads: null`) is as good as no key; `finetune:` alone takes all defaults.
- **Variables**: `${name}` stands for an entry of `variables`, or for a single value elsewhere in the recipe by its key path:
  `${seed}`, `${data.max_length}`. Variables may hold variables. A value that is one variable and nothing else takes its
  type, so `epochs: ${epochs}` is a number. Within `{...}` and `[...]`, YAML wants quotes around it: `{epochs: "${epochs}"}`.
  Write `$${` for a plain `${`.
- **`--set key=value`** changes a recipe from the command line, before variables and checks. The key is the path that messages
  show: `--set data.max_length=64`, `--set stages[1].distill.epochs=1`. A stage's id may stand for its position:
  `--set stages.student.distill.epochs=1`. The value is YAML: `--set 'goals={size: {max: 20MB}}'`.
  A variable that no value uses can't be set: it would change nothing.
- **Anchors** (`&a`), aliases (`*a`) and merge keys (`<<: *a`) work as in YAML. Tags do not.
- **Limits**: 256 KiB, 64 levels, 20,000 values.
)";

}  // namespace

std::string_view sample_recipe() {
  return kSample;
}

std::string reference_page() {
  std::string page = std::string(kBeforeSample) + std::string(kSample) + std::string(kAfterSample);
  for (const Section& section : all_sections()) page += markdown(section);
  return page;
}

std::vector<std::string> explainable_sections() {
  std::vector<std::string> names;
  for (const Section& section : all_sections()) names.push_back(section.name);
  return names;
}

std::string explain_keys(std::string_view name) {
  std::string text;
  const std::vector<Section> sections = all_sections();
  for (const Section& section : sections) {
    const bool below =
        section.name.starts_with(name) && !name.empty() &&
        (section.name.size() == name.size() || section.name[name.size()] == '.' || section.name[name.size()] == '[');
    if (below) text += (text.empty() ? "" : "\n") + plain_text(section);
  }
  if (!text.empty()) return text;
  std::vector<std::string_view> names;
  std::string known;
  for (const Section& section : sections) {
    names.push_back(section.name);
    known += (known.empty() ? "" : ", ") + section.name;
  }
  throw ConfigError("found " + in_quotes(name) + ", expected one of " + known + did_you_mean(name, names));
}

}  // namespace compression::recipes
