#pragma once
// What a TorchScript file has to be before LibTorch may read it. LibTorch takes the sizes that the file's pickles state
// for storages and tensors as they are: where the bytes are fewer, it reads what lies behind them.

#include <filesystem>
#include <string_view>

namespace compression::exporter {

/// Throws CheckpointError unless `file` is a ZIP archive whose records have as many bytes as the storages that they are
/// for, each tensor lies in its storage, and all that is read of it is bounded by the bytes that are there.
void check_archive(const std::filesystem::path& file);

/// Tells the bytes of a storage's record, -1 where there is none.
class Records {
 public:
  virtual ~Records() = default;
  virtual int64_t size(std::string_view key) const = 0;
};

/// The same of one pickle, such as data.pkl. `where` begins messages.
void check_pickle(std::string_view pickle, const Records& records, const std::string& where);

}  // namespace compression::exporter
