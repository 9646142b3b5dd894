// What a model caches a token and layer, and the opaque store that a backend keeps it in.
//
// GQA caches [keys | values] of all key/value heads, keys rotated. MLA caches [latent | rope key],
// one row for all heads, rope key rotated (DeepSeek-V2, arXiv 2405.04434, section 2.1). How a
// page's bytes are ordered is the backend's secret.
#ifndef TRANSMLA_ENGINE_BACKEND_KV_STORE_H_
#define TRANSMLA_ENGINE_BACKEND_KV_STORE_H_

#include <cstdint>

#include "engine/base/page.h"
#include "engine/tensor/dtype.h"

namespace transmla {

enum class AttentionKind { kGqa, kMla };

struct KvLayout {
  AttentionKind attention = AttentionKind::kGqa;
  int num_layers = 0;
  int first_dim = 0;   // GQA: num_key_value_heads · head_dim of keys.   MLA: kv_lora_rank
  int second_dim = 0;  // GQA: num_key_value_heads · head_dim of values. MLA: qk_rope_head_dim
  DType dtype = DType::kBF16;  // F32, F16 or BF16

  int64_t ValuesPerTokenAndLayer() const { return int64_t{first_dim} + second_dim; }
  int64_t BytesPerToken() const { return RowBytes(dtype, ValuesPerTokenAndLayer()) * num_layers; }
  int64_t BytesPerPage() const { return BytesPerToken() * kPageTokens; }
};

// The pages of one model on one device. Freed by its destructor; must not outlive its backend.
class KvStore {
 public:
  virtual ~KvStore() = default;
  virtual const KvLayout& layout() const = 0;
  virtual int pages() const = 0;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_BACKEND_KV_STORE_H_
