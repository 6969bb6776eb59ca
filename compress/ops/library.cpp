// libcompress_ops.so as LibTorch sees it: the class torch.classes.compress.Encoder.

#include <torch/custom_class.h>

#include "compress/ops/encoder.h"  // Encoder
#include "compress/ops/library.h"  // EncoderObject

namespace compression::ops {

c10::IValue make_encoder_object(const EncoderState& state) {
  return c10::make_intrusive<EncoderObject>(state);
}

}  // namespace compression::ops

using compression::ops::EncoderObject;
using compression::ops::EncoderState;

TORCH_LIBRARY(compress, library) {
  using State = std::tuple<c10::Dict<std::string, at::Tensor>, c10::Dict<std::string, double>>;
  library.class_<EncoderObject>("Encoder")
      .def("forward", [](const c10::intrusive_ptr<EncoderObject>& self, const at::Tensor& ids, const at::Tensor& mask,
                         const at::Tensor& types) { return self->encoder.forward(ids, mask, types); })
      .def("last_hidden_state",
           [](const c10::intrusive_ptr<EncoderObject>& self, const at::Tensor& ids, const at::Tensor& mask,
              const at::Tensor& types) { return self->encoder.last_hidden_state(ids, mask, types); })
      .def_pickle(
          [](const c10::intrusive_ptr<EncoderObject>& self) -> State {
            const auto state = self->encoder.state();
            return {state.tensors, state.numbers};
          },
          [](State state) {
            return c10::make_intrusive<EncoderObject>(EncoderState{std::get<0>(state), std::get<1>(state)});
          });
}
