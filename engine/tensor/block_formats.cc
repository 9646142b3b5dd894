#include "engine/tensor/block_formats.h"

#include <algorithm>
#include <cmath>
#include <cstddef>
#include <cstring>

#include "absl/strings/str_cat.h"

#include "engine/base/check.h"
#include "engine/tensor/float_types.h"

namespace transmla {
namespace {

// Names of fields follow the GGUF specification: d is a block's scale, m or dmin its minimum's
// scale, qs the low bits of the quants, qh their high bits.
constexpr int kSmallBlock = 32;   // elements of Qx_0 and Qx_1
constexpr int kSuperBlock = 256;  // elements of Qx_K
constexpr int kKScaleBytes = 12;  // eight 6-bit scales and eight 6-bit minima of Q4_K and Q5_K

uint16_t LoadU16(const uint8_t* p) {
  uint16_t value = 0;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

uint32_t LoadU32(const uint8_t* p) {
  uint32_t value = 0;
  std::memcpy(&value, p, sizeof(value));
  return value;
}

float LoadF16(const uint8_t* p) { return F16ToFloat(LoadU16(p)); }

// Byte j of `qs` holds quants j (low nibble) and j + 16 (high nibble): Q4_0, Q4_1, Q5_0, Q5_1.
int Nibble(const uint8_t* qs, int i) { return i < 16 ? qs[i] & 15 : qs[i - 16] >> 4; }

// {f16 d; u8 qs[16]}: d · (q - 8)
void DecodeQ4_0(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int i = 0; i < kSmallBlock; ++i) {
    out[i] = d * static_cast<float>(Nibble(block + 2, i) - 8);
  }
}

// {f16 d; f16 m; u8 qs[16]}: d · q + m
void DecodeQ4_1(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  const float m = LoadF16(block + 2);
  for (int i = 0; i < kSmallBlock; ++i) {
    out[i] = d * static_cast<float>(Nibble(block + 4, i)) + m;
  }
}

// {f16 d; u32 qh; u8 qs[16]}: d · (q - 16), bit i of qh is the fifth bit of quant i
void DecodeQ5_0(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  const uint32_t high = LoadU32(block + 2);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int q = Nibble(block + 6, i) | static_cast<int>((high >> i & 1u) << 4);
    out[i] = d * static_cast<float>(q - 16);
  }
}

// {f16 d; f16 m; u32 qh; u8 qs[16]}: d · q + m
void DecodeQ5_1(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  const float m = LoadF16(block + 2);
  const uint32_t high = LoadU32(block + 4);
  for (int i = 0; i < kSmallBlock; ++i) {
    const int q = Nibble(block + 8, i) | static_cast<int>((high >> i & 1u) << 4);
    out[i] = d * static_cast<float>(q) + m;
  }
}

// {f16 d; i8 qs[32]}: d · q
void DecodeQ8_0(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  for (int i = 0; i < kSmallBlock; ++i) {
    out[i] = d * static_cast<float>(static_cast<int8_t>(block[2 + i]));
  }
}

// Two bits of element i of a super-block: each 32 bytes hold 128 elements, 32 a bit pair.
int BitPair(const uint8_t* qs, int i) {
  const int half = i / 128;
  const int pair = i % 128 / 32;
  return qs[half * 32 + i % 32] >> (2 * pair) & 3;
}

// {u8 scales[16]; u8 qs[64]; f16 d; f16 dmin}: 16 groups of 16; low nibble scale, high nibble
// minimum: d · scale · q - dmin · minimum
void DecodeQ2_K(const uint8_t* block, float* out) {
  const uint8_t* qs = block + 16;
  const float d = LoadF16(block + 80);
  const float dmin = LoadF16(block + 82);
  for (int i = 0; i < kSuperBlock; ++i) {
    const int scale = block[i / 16];
    const float step = d * static_cast<float>(scale & 15);
    const float minimum = dmin * static_cast<float>(scale >> 4);
    out[i] = step * static_cast<float>(BitPair(qs, i)) - minimum;
  }
}

// Sixteen 6-bit scales in 12 bytes, Q3_K: low nibbles of group g in byte g % 8 (g < 8 the low
// half), the upper two bits in byte 8 + g % 4 at bit 2 · (g / 4). Stored with an offset of 32.
int Q3Scale(const uint8_t* scales, int group) {
  const int low = group < 8 ? scales[group] & 15 : scales[group - 8] >> 4;
  const int high = scales[8 + group % 4] >> (2 * (group / 4)) & 3;
  return (low | high << 4) - 32;
}

// {u8 hmask[32]; u8 qs[64]; u8 scales[12]; f16 d}: d · scale · (q - 4 where the mask bit is clear);
// bit i / 32 of hmask[i % 32] belongs to element i.
void DecodeQ3_K(const uint8_t* block, float* out) {
  const uint8_t* qs = block + 32;
  const uint8_t* scales = block + 96;
  const float d = LoadF16(block + 108);
  for (int i = 0; i < kSuperBlock; ++i) {
    const bool high = (block[i % 32] >> (i / 32) & 1) != 0;
    const int q = BitPair(qs, i) - (high ? 0 : 4);
    out[i] = d * static_cast<float>(Q3Scale(scales, i / 16)) * static_cast<float>(q);
  }
}

struct ScaleAndMinimum {
  int scale;
  int minimum;
};

// Group 0..7 of the 12 bytes of Q4_K and Q5_K: groups 0..3 take the low six bits of bytes g and
// g + 4; groups 4..7 a nibble each of byte g + 4, completed by the upper two bits of the others.
ScaleAndMinimum KScale(const uint8_t* scales, int group) {
  if (group < 4) return {scales[group] & 63, scales[group + 4] & 63};
  return {(scales[group + 4] & 15) | (scales[group - 4] >> 6) << 4,
          (scales[group + 4] >> 4) | (scales[group] >> 6) << 4};
}

// Four bits of element i of a super-block: each 32 bytes hold 64 elements, low nibbles first.
int SuperNibble(const uint8_t* qs, int i) {
  const uint8_t byte = qs[i / 64 * 32 + i % 32];
  return i % 64 < 32 ? byte & 15 : byte >> 4;
}

// {f16 d; f16 dmin; u8 scales[12]; u8 qs[128]}: 8 groups of 32: d · scale · q - dmin · minimum
void DecodeQ4_K(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  const float dmin = LoadF16(block + 2);
  const uint8_t* qs = block + 4 + kKScaleBytes;
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum s = KScale(block + 4, group);
    const float step = d * static_cast<float>(s.scale);
    const float minimum = dmin * static_cast<float>(s.minimum);
    for (int i = group * 32; i < group * 32 + 32; ++i) {
      out[i] = step * static_cast<float>(SuperNibble(qs, i)) - minimum;
    }
  }
}

// {f16 d; f16 dmin; u8 scales[12]; u8 qh[32]; u8 qs[128]}: as Q4_K; bit `group` of qh[i % 32] is
// the fifth bit.
void DecodeQ5_K(const uint8_t* block, float* out) {
  const float d = LoadF16(block);
  const float dmin = LoadF16(block + 2);
  const uint8_t* qh = block + 4 + kKScaleBytes;
  const uint8_t* qs = qh + 32;
  for (int group = 0; group < 8; ++group) {
    const ScaleAndMinimum s = KScale(block + 4, group);
    const float step = d * static_cast<float>(s.scale);
    const float minimum = dmin * static_cast<float>(s.minimum);
    for (int i = group * 32; i < group * 32 + 32; ++i) {
      const int q = SuperNibble(qs, i) | (qh[i % 32] >> group & 1) << 4;
      out[i] = step * static_cast<float>(q) - minimum;
    }
  }
}

// {u8 ql[128]; u8 qh[64]; i8 scales[16]; f16 d}: d · scale · (q - 32). In each half of 128
// elements, 64 bytes of ql hold the low nibbles of the first 64, then the high ones of the rest.
void DecodeQ6_K(const uint8_t* block, float* out) {
  const uint8_t* qh = block + 128;
  const uint8_t* scales = block + 192;
  const float d = LoadF16(block + 208);
  for (int i = 0; i < kSuperBlock; ++i) {
    const uint8_t byte = block[i / 128 * 64 + i % 64];
    const int low = i % 128 < 64 ? byte & 15 : byte >> 4;
    const int q = low | BitPair(qh, i) << 4;
    const float step = d * static_cast<float>(static_cast<int8_t>(scales[i / 16]));
    out[i] = step * static_cast<float>(q - 32);
  }
}

using BlockDecoder = void (*)(const uint8_t* block, float* out);

// Null for the types that are not block types.
BlockDecoder DecoderOf(DType dtype) {
  switch (dtype) {
    case DType::kQ4_0:
      return DecodeQ4_0;
    case DType::kQ4_1:
      return DecodeQ4_1;
    case DType::kQ5_0:
      return DecodeQ5_0;
    case DType::kQ5_1:
      return DecodeQ5_1;
    case DType::kQ8_0:
      return DecodeQ8_0;
    case DType::kQ2_K:
      return DecodeQ2_K;
    case DType::kQ3_K:
      return DecodeQ3_K;
    case DType::kQ4_K:
      return DecodeQ4_K;
    case DType::kQ5_K:
      return DecodeQ5_K;
    case DType::kQ6_K:
      return DecodeQ6_K;
    default:
      return nullptr;
  }
}

void EncodeQ8_0(const float* in, uint8_t* block) {
  float largest = 0;
  for (int i = 0; i < kSmallBlock; ++i) largest = std::max(largest, std::fabs(in[i]));
  const float d = largest / 127.0f;
  const float inverse = d == 0 ? 0 : 1 / d;
  const uint16_t stored = FloatToF16(d);
  std::memcpy(block, &stored, sizeof(stored));
  for (int i = 0; i < kSmallBlock; ++i) {
    // NaN and infinity have no place in eight bits: they saturate, and never overflow the cast.
    const float q = std::round(in[i] * inverse);
    const float clamped = q >= -127.0f ? std::min(q, 127.0f) : -127.0f;
    block[2 + i] = static_cast<uint8_t>(static_cast<int8_t>(clamped));
  }
}

}  // namespace

bool IsDequantizable(DType dtype) {
  return dtype == DType::kF32 || dtype == DType::kF16 || dtype == DType::kBF16 ||
         DecoderOf(dtype) != nullptr;
}

void DequantizeRow(DType dtype, const void* row, absl::Span<float> out) {
  const auto* bytes = static_cast<const uint8_t*>(row);
  switch (dtype) {
    case DType::kF32:
      if (!out.empty()) std::memcpy(out.data(), bytes, out.size() * sizeof(float));
      return;
    case DType::kF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = F16ToFloat(LoadU16(bytes + 2 * i));
      return;
    case DType::kBF16:
      for (size_t i = 0; i < out.size(); ++i) out[i] = Bf16ToFloat(LoadU16(bytes + 2 * i));
      return;
    default:
      break;
  }
  const BlockDecoder decode = DecoderOf(dtype);
  CHECK(decode != nullptr);
  const DTypeTraits& traits = TraitsOf(dtype);
  CHECK_EQ(out.size() % traits.block_elements, 0u);
  for (size_t i = 0; i < out.size(); i += traits.block_elements, bytes += traits.block_bytes) {
    decode(bytes, out.data() + i);
  }
}

absl::Status QuantizeRow(DType dtype, absl::Span<const float> row, void* out) {
  auto* bytes = static_cast<uint8_t*>(out);
  switch (dtype) {
    case DType::kF32:
      if (!row.empty()) std::memcpy(bytes, row.data(), row.size() * sizeof(float));
      return absl::OkStatus();
    case DType::kF16:
    case DType::kBF16:
      for (size_t i = 0; i < row.size(); ++i) {
        const uint16_t value = dtype == DType::kF16 ? FloatToF16(row[i]) : FloatToBf16(row[i]);
        std::memcpy(bytes + 2 * i, &value, sizeof(value));
      }
      return absl::OkStatus();
    case DType::kQ8_0:
      if (row.size() % kSmallBlock != 0) {
        return absl::InvalidArgumentError(absl::StrCat(
            "a row of ", row.size(), " elements cannot be stored as q8_0: not a multiple of 32"));
      }
      for (size_t i = 0; i < row.size(); i += kSmallBlock, bytes += 34) {
        EncodeQ8_0(row.data() + i, bytes);
      }
      return absl::OkStatus();
    default:
      return absl::InvalidArgumentError(absl::StrCat("cannot encode as ", DTypeName(dtype),
                                                     "; supported are f32, f16, bf16 and q8_0"));
  }
}

}  // namespace transmla
