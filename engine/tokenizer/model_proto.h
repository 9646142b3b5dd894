// SentencePiece's ModelProto, the content of a tokenizer.model: writes one from a list of pieces
// and the other way round, and changes single fields of one.
//
// Source: sentencepiece_model.proto; Debian packages its library but not its generated code. Of
// protobuf's wire format, a later value of a field that occurs once replaces an earlier one, and
// messages are joined field by field: that is how a field is changed by appending.
#ifndef TRANSMLA_ENGINE_TOKENIZER_MODEL_PROTO_H_
#define TRANSMLA_ENGINE_TOKENIZER_MODEL_PROTO_H_

#include <string>
#include <vector>

#include "absl/container/flat_hash_set.h"
#include "absl/status/statusor.h"
#include "absl/strings/string_view.h"

namespace transmla {

// ModelProto.SentencePiece.Type
enum class PieceType {
  kNormal = 1,
  kUnknown = 2,
  kControl = 3,
  kUserDefined = 4,
  kUnused = 5,
  kByte = 6,
};

struct SentencePiece {
  std::string text;  // spaces as U+2581
  float score = 0;
  PieceType type = PieceType::kNormal;
};

struct SentencePieceModel {
  std::vector<SentencePiece> pieces;  // by id
  bool is_unigram = false;            // BPE otherwise
  bool byte_fallback = false;         // needs all 256 byte pieces
  bool add_dummy_prefix = true;       // a space before each text
  bool remove_extra_whitespaces = false;
  std::string unk, bos, eos, pad;  // their pieces; empty: none
};

std::string SerializeModelProto(const SentencePieceModel& model);

// InvalidArgument, beginning with `where`, if `proto` is not in protobuf's wire format;
// Unimplemented if the model has what SentencePieceModel cannot hold: words or characters instead
// of pieces, rules that rewrite characters, spaces that are not U+2581 before words.
absl::StatusOr<SentencePieceModel> ParseModelProto(const std::string& where,
                                                   absl::string_view proto);

// `proto` with add_dummy_prefix off.
std::string WithoutDummyPrefix(absl::string_view proto);

// `proto` with those pieces as control pieces, which no text becomes, but for the unknown piece:
// the library needs it. InvalidArgument, beginning with `where`, if it is not in protobuf's wire
// format.
absl::StatusOr<std::string> WithControlPieces(const std::string& where, absl::string_view proto,
                                              const absl::flat_hash_set<int>& ids);

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_TOKENIZER_MODEL_PROTO_H_
