// A config.json: the whole input.

#include "compress/base/json_file.h"
#include "compress/families/model_config.h"  // read_model_config, write_model_config
#include "compress/families/name_table.h"
#include "compress/spec/config.h"
#include "compress/spec/weights.h"
#include "tests/fuzz/fuzzing.h"

using namespace compression;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  fuzzing::allow_errors([&] {
    const auto json = parse_json({reinterpret_cast<const char*>(data), size}, "config.json");
    auto config = read_model_config(json, "config.json");
    weights(config);
    const auto name = checkpoint_names(config);
    name("bert.encoder.layer.0.attention.self.query.weight");
    auto again = read_model_config(write_model_config(config), "config.json");
    config.source = again.source = nullptr;
    if (config != again) fuzzing::finding("a config that is another one when it is written and read again");
  });
  return 0;
}
