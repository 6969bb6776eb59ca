#pragma once
// A value of a Script that has a tensor's operations: what is written for tensors writes TorchScript.

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <concepts>
#include <initializer_list>
#include <string>
#include <string_view>
#include <vector>

#include "export/script.h"  // Script

namespace compression::exporter {

class Expression {
 public:
  using Sizes = std::initializer_list<int64_t>;

  Expression() = default;  // none: "None"
  Expression(Script& script, std::string text) : script_(&script), text_(std::move(text)) {}

  bool defined() const { return script_ != nullptr; }
  const std::string& text() const { return text_; }

  Expression operator+(const Expression& y) const { return let("{} + {}", text_, y.text_); }
  Expression operator-(const Expression& y) const { return let("{} - {}", text_, y.text_); }
  Expression operator*(const Expression& y) const { return let("{} * {}", text_, y.text_); }
  Expression operator/(const Expression& y) const { return let("{} / {}", text_, y.text_); }
  Expression operator+(int64_t y) const { return let("{} + {}", text_, y); }
  Expression operator*(double y) const { return let("{} * {:.17g}", text_, y); }
  Expression operator-() const { return call("neg"); }

  // As at::Tensor has them.
  Expression amax(int64_t dim) const { return call("amax", sizes({dim})); }
  Expression argmax(int64_t dim, bool keepdim = false) const { return call("argmax", dim, keepdim); }
  Expression clamp_min(double least) const { return call("clamp_min", least); }
  Expression cumsum(int64_t dim) const { return call("cumsum", dim); }
  Expression eq(int64_t y) const { return call("eq", y); }
  Expression expand(Sizes all) const { return call("expand", sizes(all)); }
  Expression flatten(int64_t first) const { return call("flatten", first); }
  Expression gather(int64_t dim, const Expression& index) const { return call("gather", dim, index); }
  Expression index_select(int64_t dim, const Expression& index) const { return call("index_select", dim, index); }
  Expression masked_fill(const Expression& mask, double value) const { return call("masked_fill", mask, value); }
  Expression matmul(const Expression& y) const { return call("matmul", y); }
  Expression narrow(int64_t dim, int64_t start, int64_t length) const { return call("narrow", dim, start, length); }
  Expression ne(int64_t y) const { return call("ne", y); }
  Expression norm(double p, Sizes dims, bool keepdim) const { return call("norm", p, sizes(dims), keepdim); }
  Expression repeat_interleave(int64_t times, int64_t dim) const { return call("repeat_interleave", times, dim); }
  Expression select(int64_t dim, int64_t index) const { return call("select", dim, index); }
  Expression sqrt() const { return call("sqrt"); }
  Expression squeeze(int64_t dim) const { return call("squeeze", dim); }
  Expression sum(int64_t dim, bool keepdim = false) const { return call("sum", sizes({dim}), keepdim); }
  Expression take_along_dim(const Expression& index, int64_t dim) const { return call("take_along_dim", index, dim); }
  Expression to(torch::Dtype dtype) const { return call("to", Script::dtype(dtype)); }
  Expression transpose(int64_t a, int64_t b) const { return call("transpose", a, b); }
  Expression unflatten(int64_t dim, Sizes all) const { return call("unflatten", dim, sizes(all)); }
  Expression unsqueeze(int64_t dim) const { return call("unsqueeze", dim); }
  Expression view(Sizes all) const { return call("view", sizes(all)); }

 private:
  static std::string sizes(Sizes all) { return fmt::format("[{}]", fmt::join(all, ", ")); }
  static std::string written(const std::string& text) { return text; }
  static std::string written(const Expression& value) { return value.text_; }
  static std::string written(std::integral auto number) { return std::to_string(number); }
  static std::string written(bool flag) { return flag ? "True" : "False"; }
  static std::string written(double number) { return fmt::format("{:.17g}", number); }

  template <class... Arguments>
  Expression let(fmt::format_string<Arguments...> form, Arguments&&... arguments) const {
    return {*script_, script_->let(fmt::format(form, std::forward<Arguments>(arguments)...))};
  }

  template <class... Arguments>
  Expression call(std::string_view method, const Arguments&... arguments) const {
    const std::vector<std::string> texts{written(arguments)...};
    return let("{}.{}({})", text_, method, fmt::join(texts, ", "));
  }

  Script* script_ = nullptr;
  std::string text_ = "None";
};

}  // namespace compression::exporter

/// Its text.
template <>
struct fmt::formatter<compression::exporter::Expression> : fmt::formatter<std::string> {
  auto format(const compression::exporter::Expression& value, fmt::format_context& context) const {
    return fmt::formatter<std::string>::format(value.text(), context);
  }
};
