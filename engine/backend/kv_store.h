// What a model caches a token and layer, and the opaque store that a backend keeps it in.
//
// GQA caches [keys | values] of all key/value heads, keys rotated. MLA caches [latent | rope key],
// one row for all heads, rope key rotated (DeepSeek-V2, arXiv 2405.04434, section 2.1). How a
// page's bytes are ordered is the backend's secret.
#ifndef TRANSMLA_ENGINE_BACKEND_KV_STORE_H_
#define TRANSMLA_ENGINE_BACKEND_KV_STORE_H_

#include <cstddef>
#include <cstdint>
#include <optional>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/base/page.h"
#include "engine/tensor/dtype.h"

namespace transmla {

enum class AttentionKind { kGqa, kMla };

// Most values that share a scale in a cache of 8-bit integers.
inline constexpr int kMaxKvGroup = 128;

// What a cache's type may be, for messages.
inline constexpr absl::string_view kCacheDTypeChoice = "f32, f16, bf16 or int8";

// The name of a cache's type: "int8" for kI8, since such a cache is more than its integers; the
// others as DTypeName.
absl::string_view CacheDTypeName(DType dtype);
// The type of that name, or nothing if caches cannot be of it.
std::optional<DType> ParseCacheDType(absl::string_view name);
inline bool IsCacheDType(DType dtype) { return ParseCacheDType(CacheDTypeName(dtype)) == dtype; }

// Bytes of `values` values of a token and layer, scales included. REQUIRES: values >= 0, and
// group >= 1 for kI8.
int64_t CacheRowBytes(DType dtype, int64_t values, int group);

// kI8 stores `group` consecutive values of a token as 8-bit integers under one F32 scale
// (engine/tensor/int8_group.h); a token's last group may be shorter. The rope keys of MLA stay
// BF16: they are few, and scores feel their rounding most.
struct KvLayout {
  AttentionKind attention = AttentionKind::kGqa;
  int num_layers = 0;
  int first_dim = 0;   // GQA: num_key_value_heads · head_dim of keys.   MLA: kv_lora_rank
  int second_dim = 0;  // GQA: num_key_value_heads · head_dim of values. MLA: qk_rope_head_dim
  DType dtype = DType::kBF16;  // F32, F16, BF16 or I8
  int group = 0;  // I8: values a scale, 1 to kMaxKvGroup. GQA: divides head_dim. Others: 0

  DType second_dtype() const {
    return dtype == DType::kI8 && attention == AttentionKind::kMla ? DType::kBF16 : dtype;
  }
  int64_t ValuesPerTokenAndLayer() const { return int64_t{first_dim} + second_dim; }
  // Scales included, as in BytesPerPage.
  int64_t BytesPerToken() const;
  int64_t BytesPerPage() const { return BytesPerToken() * kPageTokens; }
};

// The pages of one model on one device. Freed by its destructor; must not outlive its backend.
class KvStore {
 public:
  virtual ~KvStore() = default;
  virtual const KvLayout& layout() const = 0;
  virtual int pages() const = 0;

  // Copies a page's BytesPerPage() bytes out or in, in the backend's own order. Not while a step
  // runs. Unimplemented where a backend cannot.
  virtual absl::Status ReadPage(PageId page, absl::Span<std::byte> bytes) const;
  virtual absl::Status WritePage(PageId page, absl::Span<const std::byte> bytes);
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_KV_STORE_H_
