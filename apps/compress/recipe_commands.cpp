// run, validate, explain

#include <fmt/format.h>
#include <spdlog/spdlog.h>

#include <iostream>
#include <nlohmann/json.hpp>

#include "commands.h"
#include "compress/base/error.h"    // ConfigError
#include "compress/base/message.h"  // json_text, printable
#include "recipes/data_report.h"    // look_at
#include "recipes/load.h"           // load_recipe
#include "recipes/preflight.h"      // check_models
#include "recipes/reference.h"      // explain_keys
#include "recipes/run.h"            // run, plan
#include "recipes/task_data.h"      // TaskData
#include "recipes/write.h"          // recipe_json, to_yaml

namespace compression::app {

int run_command(const RecipeOptions& options, Context& context, bool json) {
  const auto recipe = recipes::load_recipe(options.recipe, options.overrides);
  const auto report = recipes::run(recipe, context);
  if (json) {
    std::cout << json_text(recipes::report_json(report), 2) << '\n';
  } else {
    std::cout << message_lines(recipes::report_markdown(report));
  }
  context.logger->info("report: {}", (recipe.output / "report.md").string());
  for (const auto& goal : report.goals) {
    if (!goal.met)
      context.logger->error("goal missed: {}: wanted {}, reached {}", goal.goal, goal.wanted, goal.reached);
  }
  return report.met() ? success : goal_missed;
}

int validate_command(const RecipeOptions& options, bool json) {
  try {
    const auto recipe = recipes::load_recipe(options.recipe, options.overrides);
    if (json) {
      std::cout << json_text(nlohmann::json{{"valid", true}, {"problems", nlohmann::json::array()}}, 2) << '\n';
    } else {
      std::cout << fmt::format("{}: valid, {} stages\n", printable(options.recipe.string()), recipe.stages.size());
    }
    return success;
  } catch (const ConfigError& error) {
    if (!json) throw;
    auto problems = nlohmann::json::array();
    std::istringstream lines(error.what());
    for (std::string line; std::getline(lines, line);) problems.push_back(line);
    std::cout << json_text(nlohmann::json{{"valid", false}, {"problems", problems}}, 2) << '\n';
    return bad_input;
  }
}

int explain_command(const ExplainOptions& options, bool json) {
  if (options.keys) {
    const auto text = recipes::explain_keys(*options.keys);
    std::cout << (json ? json_text(nlohmann::json{{"section", *options.keys}, {"text", text}}, 2) + "\n" : text);
    return success;
  }
  const auto recipe = recipes::load_recipe(options.recipe.recipe, options.recipe.overrides);
  const auto texts = recipes::read_data(recipe);
  Problems problems;
  recipes::check_models(recipe, texts.has_pairs(), texts.head(), problems);
  recipes::throw_if_any(problems, recipe);
  const auto stages = recipes::plan(recipe, texts);
  const auto data = recipes::look_at(texts, recipe);
  if (json) {
    auto list = nlohmann::json::array();
    for (const auto& s : stages) {
      list.push_back({{"id", s.id}, {"kind", s.kind}, {"up_to_date", s.up_to_date}, {"reason", s.reason}});
    }
    std::cout << json_text(
                     nlohmann::json{
                         {"recipe", recipes::recipe_json(recipe)}, {"plan", list}, {"data", recipes::data_json(data)}},
                     2)
              << '\n';
    return success;
  }
  std::cout << "# As it will run, every default filled in\n"
            << recipes::to_yaml(recipe) << "\n# What `compress run` would do now\n";
  for (const auto& s : stages) {
    std::cout << fmt::format("# {:<16} {:<10} {}\n", s.id, s.kind,
                             s.up_to_date ? "up to date" : "to run: " + one_line(s.reason));
  }
  std::cout
      << "\n# The data, in tokens of the recipe's model; of classes, how often each is in the splits above them\n";
  for (const auto& line : recipes::data_lines(data)) std::cout << fmt::format("# {}\n", line);
  return success;
}

}  // namespace compression::app
