// ConversionReport: what a conversion did and what it cost. Written as JSON beside the model and as
// text on the terminal.
#ifndef TRANSMLA_ENGINE_CONVERT_REPORT_H_
#define TRANSMLA_ENGINE_CONVERT_REPORT_H_

#include <cstdint>
#include <map>
#include <optional>
#include <string>
#include <vector>

#include "absl/strings/string_view.h"

namespace transmla {

// Relative errors are ‖result − source‖ / ‖source‖ in the root mean square over the calibration
// tokens.
struct LayerReport {
  int layer = 0;
  double rope_key_energy_kept =
      0;                   // share of the keys' energy in the dimensions that keep RoPE, 0 to 1
  double key_error = 0;    // of the position-free keys after the latent
  double value_error = 0;  // of the values after the latent
  // Recipe best: share of what losing [k_nope; v] costs that a latent of i / n of its width leaves,
  // for i = 0 … n.
  std::vector<double> cost_left;
};

struct QualityReport {
  int64_t tokens = 0;  // positions that were predicted
  double perplexity_before = 0;
  double perplexity_after = 0;
  double kl_divergence = 0;         // mean KL(source ‖ result) a position, nats
  double greedy_agreement = 0;      // share of positions where both prefer the same token, 0 to 1
  double max_logit_difference = 0;  // largest absolute difference of a logit
};

// A cache ratio that was tried.
struct RatioReport {
  double cache_ratio = 0;  // as asked for
  int qk_rope_head_dim = 0;
  int kv_lora_rank = 0;
  int64_t cache_bytes_per_token = 0;
  QualityReport quality;
};

// KL(source ‖ converted) of the next token, nats, as training began and as it ended.
struct RecoveryReport {
  int64_t tokens = 0;
  int64_t resumed_tokens = 0;  // of them, taken over from a conversion that was killed
  double kl_first = 0;
  double kl_last = 0;
};

inline constexpr absl::string_view kSampledText = "sampled from the model";

struct ConversionReport {
  std::string source;
  std::string destination;
  std::string recipe;
  std::string family;
  std::string format;  // of the result: OutputFormatName
  std::string dtype;   // of its weights; of format gguf, of attention's new matrices
  // Format gguf: the type that each of a layer's new matrices has, by its name ("attn_q"); not
  // `dtype` where that cannot hold its rows.
  std::map<std::string, std::string> matrix_types;
  int num_layers = 0;
  int qk_rope_head_dim = 0;
  int qk_nope_head_dim = 0;
  int v_head_dim = 0;
  int kv_lora_rank = 0;
  int q_lora_rank = 0;
  int latent_width = 0;  // of [k_nope; v], the largest useful kv_lora_rank
  int freqfold = 0;
  std::optional<double>
      perplexity_partial_rope;  // after RoRoPE and partial RoPE, before the low rank
  int64_t calibration_tokens = 0;
  std::string calibration_source;            // "files" or kSampledText
  int64_t cache_bytes_per_token_before = 0;  // BF16 cache, all layers
  int64_t cache_bytes_per_token_after = 0;
  std::vector<LayerReport> layers;  // before recovery
  std::optional<RecoveryReport> recovery;
  std::optional<QualityReport> quality;
  std::vector<RatioReport> tried;     // to find the ratio, on text held back for that
  std::vector<RatioReport> compared;  // ConvertOptions::compare_ratios, on the evaluation text
  int resumed_layers = 0;  // of calibration, taken over from a conversion that was killed
  double seconds = 0;
  int64_t peak_memory_bytes = 0;  // of the process
  int64_t bytes_written = 0;

  std::string ToJson() const;  // one object, keys as the fields
  std::string ToText() const;  // a table for people
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_REPORT_H_
