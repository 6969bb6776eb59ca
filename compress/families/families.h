#pragma once
// The model families that can be read.

#include <filesystem>
#include <string>
#include <vector>

#include "compress/families/family.h"  // Family

namespace compression {

const std::vector<Family>& families();

/// The tokenizer classes of all, in the order of their names.
const std::vector<TokenizerClass>& tokenizer_classes();

/// Throws UnsupportedError that names the supported families; `where` is where model_type was found.
const Family& find_family(const std::string& model_type, const std::string& where = "model_type");

/// Throws UnsupportedError for a decoder, or a model that has one; `place`: the folder, or the file, of the model.
void require_encoder(const std::string& model_type, const std::string& place);

/// Throws UnsupportedError for a GGUF file, and for a folder that has one and no config.json: those of decoders alone
/// are read.
void refuse_gguf(const std::filesystem::path& path);

}  // namespace compression
