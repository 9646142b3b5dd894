#include "engine/tokenizer/model_proto.h"

#include <cstdint>
#include <cstring>

#include "absl/functional/function_ref.h"
#include "absl/strings/str_cat.h"

#include "engine/base/status.h"

namespace transmla {
namespace {

// Protobuf's wire types.
constexpr int kVarint = 0;
constexpr int kFixed64 = 1;
constexpr int kBytes = 2;
constexpr int kFixed32 = 5;

// Field numbers of sentencepiece_model.proto.
constexpr int kModelPieces = 1, kModelTrainerSpec = 2, kModelNormalizerSpec = 3;
constexpr int kPieceText = 1, kPieceScore = 2, kPieceType = 3;
constexpr int kTrainerModelType = 3, kTrainerVocabSize = 4, kTrainerSpaceAsSuffix = 24,
              kTrainerByteFallback = 35;
constexpr int kTrainerUnkPiece = 45, kTrainerBosPiece = 46, kTrainerEosPiece = 47,
              kTrainerPadPiece = 48;
constexpr int kNormalizerName = 1, kNormalizerCharacterMap = 2, kNormalizerAddDummyPrefix = 3,
              kNormalizerRemoveExtraWhitespaces = 4, kNormalizerEscapeWhitespaces = 5;

constexpr uint64_t kUnigram = 1, kBpe = 2;  // TrainerSpec.ModelType

void PutVarint(uint64_t value, std::string& out) {
  for (; value >= 0x80; value >>= 7) out.push_back(static_cast<char>(value | 0x80));
  out.push_back(static_cast<char>(value));
}

void PutInt(int field, uint64_t value, std::string& out) {
  PutVarint(static_cast<uint64_t>(field) << 3 | kVarint, out);
  PutVarint(value, out);
}

void PutFloat(int field, float value, std::string& out) {
  PutVarint(static_cast<uint64_t>(field) << 3 | kFixed32, out);
  uint32_t bits;
  std::memcpy(&bits, &value, sizeof(bits));
  for (int shift = 0; shift < 32; shift += 8) out.push_back(static_cast<char>(bits >> shift));
}

void PutBytes(int field, absl::string_view value, std::string& out) {
  PutVarint(static_cast<uint64_t>(field) << 3 | kBytes, out);
  PutVarint(value.size(), out);
  absl::StrAppend(&out, value);
}

// Takes a varint from the front. False if there is none.
bool TakeVarint(absl::string_view& in, uint64_t& value) {
  value = 0;
  for (int shift = 0; shift < 64 && !in.empty(); shift += 7) {
    const auto byte = static_cast<uint8_t>(in[0]);
    in.remove_prefix(1);
    value |= static_cast<uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return true;
  }
  return false;
}

struct Field {
  uint64_t number = 0;
  uint64_t varint = 0;        // of kVarint
  absl::string_view whole;    // with its tag
  absl::string_view content;  // of kBytes
};

// Takes a field from the front. False if it is broken, or of a wire type that is no more in use.
bool TakeField(absl::string_view& in, Field& field) {
  const absl::string_view start = in;
  uint64_t tag, length = 0;
  if (!TakeVarint(in, tag)) return false;
  switch (tag & 7) {
    case kVarint:
      if (!TakeVarint(in, field.varint)) return false;
      break;
    case kFixed64:
      length = 8;
      break;
    case kFixed32:
      length = 4;
      break;
    case kBytes:
      if (!TakeVarint(in, length)) return false;
      break;
    default:
      return false;
  }
  if (length > in.size()) return false;
  field.number = tag >> 3;
  field.content = in.substr(0, length);
  in.remove_prefix(length);
  field.whole = start.substr(0, start.size() - in.size());
  return true;
}

// Hands each field of `in` to `take`. What that returns first that is not OK; InvalidArgument,
// beginning with `where`, if `in` is broken.
absl::Status ForEachField(const std::string& where, absl::string_view in,
                          absl::FunctionRef<absl::Status(const Field&)> take) {
  const size_t size = in.size();
  while (!in.empty()) {
    Field field;
    const size_t place = size - in.size();
    if (!TakeField(in, field)) {
      return absl::InvalidArgumentError(
          absl::StrCat(where, ": broken at byte ", place, ": is no SentencePiece model"));
    }
    RETURN_IF_ERROR(take(field));
  }
  return absl::OkStatus();
}

absl::StatusOr<SentencePiece> ParsePiece(const std::string& where, absl::string_view in) {
  SentencePiece piece;
  RETURN_IF_ERROR(ForEachField(where, in, [&](const Field& field) {
    if (field.number == kPieceText) piece.text = std::string(field.content);
    if (field.number == kPieceScore && field.content.size() == sizeof(piece.score)) {
      std::memcpy(&piece.score, field.content.data(), sizeof(piece.score));
    }
    if (field.number == kPieceType) piece.type = static_cast<PieceType>(field.varint);
    return absl::OkStatus();
  }));
  if (piece.type < PieceType::kNormal || piece.type > PieceType::kByte) {
    return absl::InvalidArgumentError(absl::StrCat(where, ": piece \"", piece.text,
                                                   "\" is of type ", static_cast<int>(piece.type),
                                                   "; types are 1 to 6"));
  }
  return piece;
}

absl::Status ParseTrainer(const std::string& where, absl::string_view in,
                          SentencePieceModel& model) {
  return ForEachField(where, in, [&](const Field& field) {
    const std::string content(field.content);
    switch (field.number) {
      case kTrainerModelType:
        model.is_unigram = field.varint == kUnigram;
        if (!model.is_unigram && field.varint != kBpe) {
          return absl::UnimplementedError(
              absl::StrCat(where, ": its model_type is ", field.varint,
                           ", words or characters; pieces (unigram, bpe) are supported"));
        }
        break;
      case kTrainerSpaceAsSuffix:
        if (field.varint != 0) {
          return absl::UnimplementedError(
              absl::StrCat(where, ": spaces stand behind words (treat_whitespace_as_suffix), ",
                           "which is not supported"));
        }
        break;
      case kTrainerByteFallback:
        model.byte_fallback = field.varint != 0;
        break;
      case kTrainerUnkPiece:
        model.unk = content;
        break;
      case kTrainerBosPiece:
        model.bos = content;
        break;
      case kTrainerEosPiece:
        model.eos = content;
        break;
      case kTrainerPadPiece:
        model.pad = content;
        break;
      default:
        break;
    }
    return absl::OkStatus();
  });
}

absl::Status ParseNormalizer(const std::string& where, absl::string_view in,
                             SentencePieceModel& model) {
  return ForEachField(where, in, [&](const Field& field) {
    if (field.number == kNormalizerCharacterMap && !field.content.empty()) {
      return absl::UnimplementedError(
          absl::StrCat(where, ": its normalizer has rules that rewrite characters ",
                       "(precompiled_charsmap), which are not supported"));
    }
    if (field.number == kNormalizerEscapeWhitespaces && field.varint == 0) {
      return absl::UnimplementedError(absl::StrCat(
          where, ": its normalizer leaves spaces as they are, which is not supported"));
    }
    if (field.number == kNormalizerAddDummyPrefix) model.add_dummy_prefix = field.varint != 0;
    if (field.number == kNormalizerRemoveExtraWhitespaces) {
      model.remove_extra_whitespaces = field.varint != 0;
    }
    return absl::OkStatus();
  });
}

bool IsUnknownPiece(absl::string_view piece) {
  uint64_t type = 0;
  for (Field field; !piece.empty() && TakeField(piece, field);) {
    if (field.number == kPieceType) type = field.varint;
  }
  return type == static_cast<uint64_t>(PieceType::kUnknown);
}

std::string SerializePiece(const SentencePiece& piece) {
  std::string out;
  PutBytes(kPieceText, piece.text, out);
  PutFloat(kPieceScore, piece.score, out);
  PutInt(kPieceType, static_cast<uint64_t>(piece.type), out);
  return out;
}

}  // namespace

std::string SerializeModelProto(const SentencePieceModel& model) {
  std::string out;
  for (const SentencePiece& piece : model.pieces) {
    PutBytes(kModelPieces, SerializePiece(piece), out);
  }
  std::string trainer;
  PutInt(kTrainerModelType, model.is_unigram ? kUnigram : kBpe, trainer);
  PutInt(kTrainerVocabSize, model.pieces.size(), trainer);
  PutInt(kTrainerByteFallback, model.byte_fallback ? 1 : 0, trainer);
  // An empty name would be one that no piece has; the library's defaults are "<s>" and so on.
  PutBytes(kTrainerUnkPiece, model.unk, trainer);
  PutBytes(kTrainerBosPiece, model.bos, trainer);
  PutBytes(kTrainerEosPiece, model.eos, trainer);
  PutBytes(kTrainerPadPiece, model.pad, trainer);
  PutBytes(kModelTrainerSpec, trainer, out);
  std::string normalizer;
  PutBytes(kNormalizerName, "identity", normalizer);
  PutInt(kNormalizerAddDummyPrefix, model.add_dummy_prefix ? 1 : 0, normalizer);
  PutInt(kNormalizerRemoveExtraWhitespaces, model.remove_extra_whitespaces ? 1 : 0, normalizer);
  PutBytes(kModelNormalizerSpec, normalizer, out);
  return out;
}

absl::StatusOr<SentencePieceModel> ParseModelProto(const std::string& where,
                                                   absl::string_view proto) {
  // What the library takes for fields that are not there.
  SentencePieceModel model = {.is_unigram = true,
                              .remove_extra_whitespaces = true,
                              .unk = "<unk>",
                              .bos = "<s>",
                              .eos = "</s>",
                              .pad = "<pad>"};
  RETURN_IF_ERROR(ForEachField(where, proto, [&](const Field& field) -> absl::Status {
    if (field.number == kModelTrainerSpec) return ParseTrainer(where, field.content, model);
    if (field.number == kModelNormalizerSpec) return ParseNormalizer(where, field.content, model);
    if (field.number != kModelPieces) return absl::OkStatus();
    ASSIGN_OR_RETURN(model.pieces.emplace_back(), ParsePiece(where, field.content));
    return absl::OkStatus();
  }));
  return model;
}

std::string WithoutDummyPrefix(absl::string_view proto) {
  std::string normalizer;
  PutInt(kNormalizerAddDummyPrefix, 0, normalizer);
  std::string out(proto);
  PutBytes(kModelNormalizerSpec, normalizer, out);
  return out;
}

absl::StatusOr<std::string> WithControlPieces(const std::string& where, absl::string_view proto,
                                              const absl::flat_hash_set<int>& ids) {
  std::string out;
  out.reserve(proto.size() + 4 * ids.size());
  int id = 0;
  RETURN_IF_ERROR(ForEachField(where, proto, [&](const Field& field) {
    if (field.number == kModelPieces && ids.contains(id++) && !IsUnknownPiece(field.content)) {
      std::string piece(field.content);
      PutInt(kPieceType, static_cast<uint64_t>(PieceType::kControl), piece);
      PutBytes(kModelPieces, piece, out);
    } else {
      absl::StrAppend(&out, field.whole);
    }
    return absl::OkStatus();
  }));
  return out;
}

}  // namespace transmla
