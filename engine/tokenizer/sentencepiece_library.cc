#include "engine/tokenizer/sentencepiece_library.h"

#include <sentencepiece_processor.h>

namespace transmla {

struct SentencePieceLibrary::Processor {
  sentencepiece::SentencePieceProcessor impl;
};

SentencePieceLibrary::SentencePieceLibrary() : processor_(std::make_unique<Processor>()) {}
SentencePieceLibrary::~SentencePieceLibrary() = default;

std::string SentencePieceLibrary::Load(std::string_view proto) {
  const auto status = processor_->impl.LoadFromSerializedProto(proto);
  return status.ok() ? "" : status.ToString();
}

std::string SentencePieceLibrary::Encode(std::string_view text, std::vector<int>& ids) const {
  std::vector<int> made;
  const auto status = processor_->impl.Encode(text, &made);
  if (!status.ok()) return status.ToString();
  ids.insert(ids.end(), made.begin(), made.end());
  return "";
}

int SentencePieceLibrary::size() const { return processor_->impl.GetPieceSize(); }

const std::string& SentencePieceLibrary::Piece(int id) const {
  return processor_->impl.IdToPiece(id);
}

SentencePieceLibrary::Type SentencePieceLibrary::TypeOf(int id) const {
  const sentencepiece::SentencePieceProcessor& impl = processor_->impl;
  if (impl.IsUnknown(id)) return Type::kUnknown;
  if (impl.IsControl(id)) return Type::kControl;
  if (impl.IsUnused(id)) return Type::kUnused;
  if (impl.IsByte(id)) return Type::kByte;
  return Type::kNormal;
}

int SentencePieceLibrary::bos() const { return processor_->impl.bos_id(); }
int SentencePieceLibrary::eos() const { return processor_->impl.eos_id(); }

}  // namespace transmla
