#include "compress/families/family.h"  // Family

namespace compression {

Family bert() {
  return {.model_type = "bert",
          .class_prefix = "Bert",
          .base = "bert",
          .defaults = {},
          .sequence_head = {{"head.dense", "bert.pooler.dense"}, {"head.classifier", "classifier"}},
          .mlm_head = {{"head", "cls.predictions"},
                       {"head.dense", "cls.predictions.transform.dense"},
                       {"head.LayerNorm", "cls.predictions.transform.LayerNorm"},
                       {"head.decoder", "cls.predictions.decoder"}},
          .not_ours = {"cls."}};
}

}  // namespace compression
