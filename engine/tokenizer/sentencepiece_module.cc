// The module that sentencepiece_library.h speaks of: libtransmla_sentencepiece.so.
#include <sentencepiece_processor.h>

#include "engine/tokenizer/sentencepiece_library.h"

namespace transmla {
namespace {

class Processor : public SentencePieceLibrary {
 public:
  std::string Load(std::string_view proto) override {
    const auto status = impl_.LoadFromSerializedProto(proto);
    return status.ok() ? "" : status.ToString();
  }

  std::string Encode(std::string_view text, std::vector<int>& ids) const override {
    std::vector<int> made;
    const auto status = impl_.Encode(text, &made);
    if (!status.ok()) return status.ToString();
    ids.insert(ids.end(), made.begin(), made.end());
    return "";
  }

  int size() const override { return impl_.GetPieceSize(); }
  const std::string& Piece(int id) const override { return impl_.IdToPiece(id); }
  Type TypeOf(int id) const override {
    if (impl_.IsUnknown(id)) return Type::kUnknown;
    if (impl_.IsControl(id)) return Type::kControl;
    if (impl_.IsUnused(id)) return Type::kUnused;
    if (impl_.IsByte(id)) return Type::kByte;
    return Type::kNormal;
  }
  int bos() const override { return impl_.bos_id(); }
  int eos() const override { return impl_.eos_id(); }

 private:
  sentencepiece::SentencePieceProcessor impl_;
};

}  // namespace
}  // namespace transmla

extern "C" transmla::SentencePieceLibrary* TransMlaNewSentencePiece() {
  return new transmla::Processor();
}
