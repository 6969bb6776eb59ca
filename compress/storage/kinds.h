#pragma once
// The kinds of storage: one file each, and an entry in the list of storages().

#include "compress/storage/storage.h"  // Storage

namespace compression {

/// A number a weight: float32, or 16 bits.
const Storage& float_storage(WeightFormat format);

/// int8 with a scale a row.
const Storage& int8_row_storage();

}  // namespace compression
