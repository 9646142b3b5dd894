#include "engine/backend/cpu/panel_format.h"

#include <algorithm>
#include <cstring>

#include "engine/base/check.h"
#include "engine/base/checked_math.h"
#include "engine/tensor/float_types.h"

namespace transmla::cpu {
namespace {

// What the blocks of one head hold for one row, whatever the layout.
struct RowHead {
  uint8_t half_bytes[4];           // scale, offset: f16
  uint8_t scale[8][2];             // [block][part], nested only
  uint8_t offset[8];               // [block], nested only
  uint8_t codes[8 * kPanelBlock];  // [block][column]
};

// Four codes, a byte each, the first in the lowest.
uint32_t WordAt(const uint8_t* p) {
  uint32_t word;
  std::memcpy(&word, p, sizeof(word));
  return word;
}
void StoreWord(uint32_t word, uint8_t* p) { std::memcpy(p, &word, sizeof(word)); }

// Qx_0 and Qx_1: {f16 d; f16 m if affine; u32 fifth bits if 5-bit; codes}.
template <PanelFormat P>
void ReadSmallBlock(const uint8_t* block, RowHead* head) {
  constexpr int kHalves = P.affine ? 4 : 2;
  std::memcpy(head->half_bytes, block, kHalves);
  const uint8_t* codes = block + kHalves;
  if constexpr (P.code_bits == 8) {
    std::memcpy(head->codes, codes, kPanelBlock);
    return;
  }
  const uint32_t fifth = P.code_bits == 5 ? WordAt(codes) : 0;
  if constexpr (P.code_bits == 5) codes += sizeof(fifth);
  for (int i = 0; i < kPanelBlock / 2; ++i) {
    head->codes[i] = codes[i] & 15;
    head->codes[kPanelBlock / 2 + i] = codes[i] >> 4;
  }
  if constexpr (P.code_bits == 5) {
    for (int g = 0; g < kPanelGroups; ++g) {
      // The product has bit i of the four at bit 8 i.
      const uint32_t bits = (fifth >> (4 * g) & 15) * 0x00204081u & 0x01010101u;
      StoreWord(WordAt(head->codes + 4 * g) | bits << 4, head->codes + 4 * g);
    }
  }
}

// Q4_K and Q5_K: {f16 d; f16 dmin; u8 scales[12]; u8 fifth bits[32] if 5-bit; u8 nibbles[128]}.
template <PanelFormat P>
void ReadAffineSuperBlock(const uint8_t* block, RowHead* head) {
  std::memcpy(head->half_bytes, block, 4);
  const uint8_t* scales = block + 4;
  for (int j = 0; j < 8; ++j) {
    head->scale[j][0] = static_cast<uint8_t>(
        j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
    head->offset[j] = static_cast<uint8_t>(j < 4 ? scales[j + 4] & 63
                                                 : (scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
  }
  const uint8_t* fifth = block + 16;
  const uint8_t* nibbles = P.code_bits == 5 ? fifth + 32 : fifth;
  for (int j = 0; j < 8; ++j) {
    for (int i = 0; i < kPanelBlock; i += 4) {
      uint32_t code = WordAt(nibbles + j / 2 * 32 + i) >> (j % 2 * 4) & 0x0F0F0F0Fu;
      if constexpr (P.code_bits == 5) code |= (WordAt(fifth + i) >> j & 0x01010101u) << 4;
      StoreWord(code, head->codes + j * kPanelBlock + i);
    }
  }
}

// Q6_K: {u8 nibbles[128]; u8 bit pairs[64]; i8 scales[16]; f16 d}, halves of 128 elements.
void ReadQ6SuperBlock(const uint8_t* block, RowHead* head) {
  std::memcpy(head->half_bytes, block + 208, 2);
  for (int j = 0; j < 8; ++j) {
    const int half = j / 4;
    const int quarter = j % 4;
    for (int part = 0; part < 2; ++part) head->scale[j][part] = block[192 + 2 * j + part];
    for (int i = 0; i < kPanelBlock; i += 4) {
      const uint32_t nibbles =
          WordAt(block + 64 * half + 32 * (quarter % 2) + i) >> (quarter / 2 * 4) & 0x0F0F0F0Fu;
      const uint32_t pairs = WordAt(block + 128 + 32 * half + i) >> (2 * quarter) & 0x03030303u;
      StoreWord(nibbles | pairs << 4, head->codes + j * kPanelBlock + i);
    }
  }
}

template <PanelFormat P>
void ReadHead(const uint8_t* block, RowHead* head) {
  if constexpr (!P.nested) {
    ReadSmallBlock<P>(block, head);
  } else if constexpr (P.affine) {
    ReadAffineSuperBlock<P>(block, head);
  } else {
    ReadQ6SuperBlock(block, head);
  }
}

// Where code (row, column) lies. Unused pointers of a format are null.
struct CodePlace {
  int byte;   // of the nibbles or 8-bit codes
  int shift;  // of the nibble
  int high_byte;
  int high_shift;
};

CodePlace PlaceOf(const PanelFormat& format, int row, int column) {
  const int group = column / 4;
  const int j = 4 * row + column % 4;
  if (format.code_bits == 8) return {.byte = 32 * group + j, .shift = 0};
  CodePlace place = {.byte = 32 * (group % 4) + j, .shift = group < 4 ? 0 : 4};
  if (format.code_bits == 5) {
    place.high_byte = 128 + j;
    place.high_shift = group;
  } else {
    place.high_byte = 128 + 32 * (group / 4) + j;
    place.high_shift = 2 * (group % 4);
  }
  return place;
}

// The 32 codes of a row in a block.
template <PanelFormat P>
void WriteCodes(const uint8_t* codes, int row, uint8_t* out) {
  uint8_t* to = out + 4 * row;
  if constexpr (P.code_bits == 8) {
    for (int g = 0; g < kPanelGroups; ++g) StoreWord(WordAt(codes + 4 * g), to + 32 * g);
    return;
  }
  constexpr int kHighBits = P.code_bits - 4;
  constexpr uint32_t kHighMask = kHighBits == 1 ? 0x01010101u : 0x03030303u;
  uint32_t high[2] = {0, 0};
  for (int g = 0; g < kPanelGroups / 2; ++g) {
    const uint32_t low_group = WordAt(codes + 4 * g);
    const uint32_t high_group = WordAt(codes + 4 * (g + kPanelGroups / 2));
    StoreWord((low_group & 0x0F0F0F0Fu) | (high_group & 0x0F0F0F0Fu) << 4, to + 32 * g);
    high[0] |= (low_group >> 4 & kHighMask) << (kHighBits * g);
    high[1] |= (high_group >> 4 & kHighMask) << (kHighBits * g);
  }
  if constexpr (P.code_bits == 5) StoreWord(high[0] | high[1] << 4, to + 128);
  if constexpr (P.code_bits == 6) {
    StoreWord(high[0], to + 128);
    StoreWord(high[1], to + 160);
  }
}

int ReadCode(const PanelFormat& format, const uint8_t* codes, int row, int column) {
  const CodePlace place = PlaceOf(format, row, column);
  if (format.code_bits == 8) return static_cast<int8_t>(codes[place.byte]);
  int code = codes[place.byte] >> place.shift & 15;
  if (format.code_bits > 4) {
    const int mask = format.code_bits == 5 ? 1 : 3;
    code |= (codes[place.high_byte] >> place.high_shift & mask) << 4;
  }
  return code;
}

template <PanelFormat P>
void WriteHead(const RowHead& head, int row, uint8_t* out) {
  std::memcpy(out + 2 * row, head.half_bytes, 2);
  if constexpr (P.affine) std::memcpy(out + 2 * kPanelRows + 2 * row, head.half_bytes + 2, 2);
  out += P.head_bytes();
  for (int b = 0; b < P.head_blocks(); ++b) {
    if constexpr (P.nested) {
      for (int p = 0; p < P.parts; ++p) out[kPanelRows * p + row] = head.scale[b][p];
      if constexpr (P.affine) out[kPanelRows * P.parts + row] = head.offset[b];
    }
    out += P.scale_bytes();
    WriteCodes<P>(head.codes + b * kPanelBlock, row, out);
    out += P.code_bytes();
  }
}

// Rows of k columns, `row_bytes` apart, of one panel; those that it lacks are zeros.
template <PanelFormat P>
void PackPanel(const uint8_t* rows, int64_t row_bytes, int count, int64_t k, uint8_t* panel) {
  const int64_t heads = k / (kPanelBlock * P.head_blocks());
  const int64_t block_bytes = row_bytes / heads;
  if (count < kPanelRows) std::memset(panel, 0, static_cast<size_t>(heads * P.bytes()));
  RowHead head;
  for (int row = 0; row < count; ++row) {
    for (int64_t h = 0; h < heads; ++h) {
      ReadHead<P>(rows + row * row_bytes + h * block_bytes, &head);
      WriteHead<P>(head, row, panel + h * P.bytes());
    }
  }
}

struct PanelType {
  DType dtype;
  const PanelFormat* format;
  void (*pack)(const uint8_t* rows, int64_t row_bytes, int count, int64_t k, uint8_t* panel);
};

constexpr PanelType kPanelTypes[] = {
    {DType::kQ4_0, &kPanelQ4_0, PackPanel<kPanelQ4_0>},
    {DType::kQ4_1, &kPanelQ4_1, PackPanel<kPanelQ4_1>},
    {DType::kQ5_0, &kPanelQ5_0, PackPanel<kPanelQ5_0>},
    {DType::kQ5_1, &kPanelQ5_1, PackPanel<kPanelQ5_1>},
    {DType::kQ8_0, &kPanelQ8_0, PackPanel<kPanelQ8_0>},
    {DType::kQ4_K, &kPanelQ4_K, PackPanel<kPanelQ4_K>},
    {DType::kQ5_K, &kPanelQ5_K, PackPanel<kPanelQ5_K>},
    {DType::kQ6_K, &kPanelQ6_K, PackPanel<kPanelQ6_K>},
};

const PanelType* PanelTypeOf(DType dtype) {
  for (const PanelType& type : kPanelTypes) {
    if (type.dtype == dtype) return &type;
  }
  return nullptr;
}

float HalfAt(const uint8_t* p) {
  uint16_t bits = 0;
  std::memcpy(&bits, p, sizeof(bits));
  return F16ToFloat(bits);
}

// As the definitions in engine/tensor/block_formats.cc round, operation by operation.
void DecodeBlock(const PanelFormat& format, const uint8_t* head, const uint8_t* block, int row,
                 float* out) {
  const float d = HalfAt(head + 2 * row);
  float offset = format.affine ? HalfAt(head + 2 * kPanelRows + 2 * row) : 0.0f;
  float scale[2] = {d, d};
  if (format.nested) {
    for (int p = 0; p < format.parts; ++p) {
      const uint8_t factor = block[kPanelRows * p + row];
      scale[p] = d * static_cast<float>(format.affine ? factor : static_cast<int8_t>(factor));
    }
    if (format.affine) offset *= -static_cast<float>(block[kPanelRows * format.parts + row]);
  }
  const uint8_t* codes = block + format.scale_bytes();
  for (int c = 0; c < kPanelBlock; ++c) {
    const int code = ReadCode(format, codes, row, c) - format.centre;
    const float value = scale[c * format.parts / kPanelBlock] * static_cast<float>(code);
    out[c] = format.affine ? value + offset : value;
  }
}

}  // namespace

const PanelFormat* PanelFormatOf(DType dtype) {
  const PanelType* type = PanelTypeOf(dtype);
  return type == nullptr ? nullptr : type->format;
}

int64_t PanelBytes(DType dtype, int64_t k) {
  const PanelFormat* format = PanelFormatOf(dtype);
  CHECK(format != nullptr);
  return k / (kPanelBlock * format->head_blocks()) * format->bytes();
}

void PackPanels(const TensorView& source, int64_t begin, int64_t end, uint8_t* panels) {
  const PanelType* type = PanelTypeOf(source.dtype);
  CHECK(type != nullptr);
  const int64_t rows = source.shape.rows();
  const int64_t k = source.shape.cols();
  const int64_t row_bytes = RowBytes(source.dtype, k);
  const int64_t panel_bytes = PanelBytes(source.dtype, k);
  for (int64_t panel = begin; panel < end; ++panel) {
    const int64_t row = panel * kPanelRows;
    type->pack(source.as<uint8_t>() + row * row_bytes, row_bytes,
               static_cast<int>(std::min<int64_t>(kPanelRows, rows - row)), k,
               panels + panel * panel_bytes);
  }
}

void DecodePanelRow(DType dtype, const uint8_t* panels, int64_t k, int64_t row, float* out) {
  const PanelFormat* format = PanelFormatOf(dtype);
  CHECK(format != nullptr);
  const uint8_t* head = panels + row / kPanelRows * PanelBytes(dtype, k);
  for (int64_t column = 0; column < k; head += format->bytes()) {
    const uint8_t* block = head + format->head_bytes();
    for (int b = 0; b < format->head_blocks(); ++b) {
      DecodeBlock(*format, head, block, static_cast<int>(row % kPanelRows), out + column);
      block += format->scale_bytes() + format->code_bytes();
      column += kPanelBlock;
    }
  }
}

}  // namespace transmla::cpu
