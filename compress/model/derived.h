#pragma once
// What is made of a model's tensors and kept as long as they stay what they are.

#include <c10/core/InferenceMode.h>
#include <torch/types.h>

#include <memory>
#include <mutex>
#include <optional>
#include <vector>

namespace compression {

/// Tells whether a tensor is still the one that it was, with the same values. Of a tensor that was made in inference
/// mode nothing tells of changes: it never is.
class Stamp {
 public:
  explicit Stamp(const torch::Tensor& tensor)
      : data_(tensor.data_ptr()), version_(version_of(tensor)), storage_(tensor.storage().getWeakStorageImpl()) {}

  bool is_of(const torch::Tensor& tensor) const {
    // Another storage never has this address, since the weak pointer keeps it.
    return version_ >= 0 && version_ == version_of(tensor) && data_ == tensor.data_ptr() &&
           storage_._unsafe_get_target() == tensor.storage().unsafeGetStorageImpl();
  }

 private:
  static int64_t version_of(const torch::Tensor& tensor) {
    return tensor.is_inference() ? -1 : static_cast<int64_t>(tensor._version());
  }

  const void* data_;
  int64_t version_;
  c10::weak_intrusive_ptr<c10::StorageImpl> storage_;
};

/// A form of some tensors that is made when it is first asked for, and anew when they have changed. Any number of
/// threads may ask: one makes it, the others wait.
template <class Form>
class Derived {
 public:
  /// make(form): fills it. The memory of the form before is used again, unless somebody still has it. `tensors`: all
  /// that make() reads, in an order that stays.
  template <class Tensors, class Make>
  std::shared_ptr<const Form> of(const Tensors& tensors, Make&& make) {
    const std::lock_guard<std::mutex> lock(mutex_);
    if (is_of(tensors)) return form_;
    stamps_.clear();
    if (!form_ || form_.use_count() > 1) form_ = std::make_shared<Form>();
    make(*form_);
    for (const torch::Tensor& tensor : tensors) stamps_.emplace_back(tensor);
    return form_;
  }

 private:
  template <class Tensors>
  bool is_of(const Tensors& tensors) const {
    if (stamps_.empty()) return false;
    size_t i = 0;
    for (const torch::Tensor& tensor : tensors) {
      if (i == stamps_.size() || !stamps_[i].is_of(tensor)) return false;
      ++i;
    }
    return i == stamps_.size();
  }

  std::mutex mutex_;
  std::shared_ptr<Form> form_;
  std::vector<Stamp> stamps_;
};

}  // namespace compression
