#pragma once
// Nodes of the autograd graph that are written by hand.

#include <c10/util/intrusive_ptr.h>
#include <torch/csrc/autograd/function.h>
#include <torch/csrc/autograd/functions/utils.h>

#include <memory>
#include <type_traits>

namespace compression {

/// LibTorch counts references to nodes in its own way from 2.13 on, before by std::shared_ptr.
using NodePointer = decltype(torch::autograd::Edge::function);

template <class NodeType>
auto make_node() {
  if constexpr (std::is_same_v<NodePointer, std::shared_ptr<torch::autograd::Node>>) {
    return std::make_shared<NodeType>();
  } else {
    return c10::make_intrusive<NodeType>();
  }
}

}  // namespace compression
