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

int Nibble(const uint8_t* qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

// Qx_0 and Qx_1: {f16 d; f16 m if affine; u32 fifth bits if 5-bit; codes}.
void ReadSmallBlock(const PanelFormat& format, const uint8_t* block, RowHead* head) {
  const int halves = format.affine ? 4 : 2;
  std::memcpy(head->half_bytes, block, halves);
  const uint8_t* codes = block + halves;
  if (format.code_bits == 8) {
    std::memcpy(head->codes, codes, kPanelBlock);
    return;
  }
  uint32_t fifth = 0;
  if (format.code_bits == 5) {
    std::memcpy(&fifth, codes, sizeof(fifth));
    codes += sizeof(fifth);
  }
  for (int i = 0; i < kPanelBlock; ++i) {
    head->codes[i] = static_cast<uint8_t>(Nibble(codes, i) | (fifth >> i & 1) << 4);
  }
}

// Q4_K and Q5_K: {f16 d; f16 dmin; u8 scales[12]; u8 fifth bits[32] if 5-bit; u8 nibbles[128]}.
void ReadAffineSuperBlock(const PanelFormat& format, const uint8_t* block, RowHead* head) {
  std::memcpy(head->half_bytes, block, 4);
  const uint8_t* scales = block + 4;
  for (int j = 0; j < 8; ++j) {
    head->scale[j][0] = static_cast<uint8_t>(
        j < 4 ? scales[j] & 63 : (scales[j + 4] & 15) | (scales[j - 4] >> 6) << 4);
    head->offset[j] = static_cast<uint8_t>(j < 4 ? scales[j + 4] & 63
                                                 : (scales[j + 4] >> 4) | (scales[j] >> 6) << 4);
  }
  const uint8_t* fifth = block + 16;
  const uint8_t* nibbles = format.code_bits == 5 ? fifth + 32 : fifth;
  for (int j = 0; j < 8; ++j) {
    for (int i = 0; i < kPanelBlock; ++i) {
      const uint8_t byte = nibbles[j / 2 * 32 + i];
      int code = j % 2 == 0 ? byte & 15 : byte >> 4;
      if (format.code_bits == 5) code |= (fifth[i] >> j & 1) << 4;
      head->codes[j * kPanelBlock + i] = static_cast<uint8_t>(code);
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
    for (int i = 0; i < kPanelBlock; ++i) {
      const uint8_t byte = block[64 * half + 32 * (quarter % 2) + i];
      const int nibble = quarter < 2 ? byte & 15 : byte >> 4;
      const int pair = block[128 + 32 * half + i] >> (2 * quarter) & 3;
      head->codes[j * kPanelBlock + i] = static_cast<uint8_t>(nibble | pair << 4);
    }
  }
}

void ReadHead(const PanelFormat& format, const uint8_t* block, RowHead* head) {
  if (!format.nested) return ReadSmallBlock(format, block, head);
  if (format.affine) return ReadAffineSuperBlock(format, block, head);
  ReadQ6SuperBlock(block, head);
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

void WriteCode(const PanelFormat& format, int row, int column, uint8_t code, uint8_t* codes) {
  const CodePlace place = PlaceOf(format, row, column);
  if (format.code_bits == 8) {
    codes[place.byte] = code;
    return;
  }
  codes[place.byte] |= static_cast<uint8_t>((code & 15) << place.shift);
  if (format.code_bits > 4) {
    codes[place.high_byte] |= static_cast<uint8_t>((code >> 4) << place.high_shift);
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

void WriteHead(const PanelFormat& format, const RowHead& head, int row, uint8_t* out) {
  std::memcpy(out + 2 * row, head.half_bytes, 2);
  if (format.affine) std::memcpy(out + 2 * kPanelRows + 2 * row, head.half_bytes + 2, 2);
  out += format.head_bytes();
  for (int b = 0; b < format.head_blocks(); ++b) {
    if (format.nested) {
      for (int p = 0; p < format.parts; ++p) out[kPanelRows * p + row] = head.scale[b][p];
      if (format.affine) out[kPanelRows * format.parts + row] = head.offset[b];
    }
    out += format.scale_bytes();
    for (int c = 0; c < kPanelBlock; ++c) {
      WriteCode(format, row, c, head.codes[b * kPanelBlock + c], out);
    }
    out += format.code_bytes();
  }
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
  switch (dtype) {
    case DType::kQ4_0:
      return &kPanelQ4_0;
    case DType::kQ4_1:
      return &kPanelQ4_1;
    case DType::kQ5_0:
      return &kPanelQ5_0;
    case DType::kQ5_1:
      return &kPanelQ5_1;
    case DType::kQ8_0:
      return &kPanelQ8_0;
    case DType::kQ4_K:
      return &kPanelQ4_K;
    case DType::kQ5_K:
      return &kPanelQ5_K;
    case DType::kQ6_K:
      return &kPanelQ6_K;
    default:
      return nullptr;
  }
}

int64_t PanelBytes(DType dtype, int64_t k) {
  const PanelFormat* format = PanelFormatOf(dtype);
  CHECK(format != nullptr);
  return k / (kPanelBlock * format->head_blocks()) * format->bytes();
}

void PackPanels(const TensorView& source, uint8_t* panels) {
  const PanelFormat* format = PanelFormatOf(source.dtype);
  CHECK(format != nullptr);
  const int64_t rows = source.shape.rows();
  const int64_t k = source.shape.cols();
  const int64_t row_bytes = RowBytes(source.dtype, k);
  const int64_t panel_bytes = PanelBytes(source.dtype, k);
  const int64_t heads = k / (kPanelBlock * format->head_blocks());
  const int64_t block_bytes = TraitsOf(source.dtype).block_bytes;
  std::memset(panels, 0, static_cast<size_t>(CeilDiv(rows, int64_t{kPanelRows}) * panel_bytes));
  RowHead head = {};
  for (int64_t row = 0; row < rows; ++row) {
    const uint8_t* in = source.as<uint8_t>() + row * row_bytes;
    uint8_t* out = panels + row / kPanelRows * panel_bytes;
    for (int64_t h = 0; h < heads; ++h) {
      ReadHead(*format, in + h * block_bytes, &head);
      WriteHead(*format, head, static_cast<int>(row % kPanelRows), out + h * format->bytes());
    }
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
