#include "engine/convert/layer_pass.h"

#include <algorithm>
#include <cstring>
#include <optional>
#include <vector>

#include "absl/strings/str_cat.h"
#include "absl/strings/str_format.h"

#include "engine/base/checked_math.h"
#include "engine/base/status.h"
#include "engine/convert/sequence_runner.h"
#include "engine/convert/work_record.h"

namespace transmla {
namespace {

// The sequences and pieces of one that run in one step; their tokens lie one after the other among
// all.
struct Step {
  std::vector<SequenceChunk> chunks;
  int64_t first = 0;  // token
  int64_t tokens = 0;
};

int LongestOf(TokenSequences sequences) {
  size_t longest = 1;
  for (const std::vector<int32_t>& sequence : sequences)
    longest = std::max(longest, sequence.size());
  return static_cast<int>(longest);
}

std::vector<Step> StepsOf(TokenSequences sequences, int step_tokens, int lanes) {
  std::vector<Step> steps;
  for (const std::vector<int32_t>& sequence : sequences) {
    for (size_t position = 0; position < sequence.size(); position += step_tokens) {
      const absl::Span<const int32_t> tokens =
          absl::MakeConstSpan(sequence).subspan(position, step_tokens);
      const bool joins = position == 0 && !steps.empty() &&
                         steps.back().chunks.size() < static_cast<size_t>(lanes) &&
                         steps.back().tokens + static_cast<int64_t>(tokens.size()) <= step_tokens;
      if (!joins) {
        const int64_t first = steps.empty() ? 0 : steps.back().first + steps.back().tokens;
        steps.push_back({.chunks = {}, .first = first, .tokens = 0});
      }
      Step& step = steps.back();
      step.chunks.push_back({.lane = static_cast<int>(step.chunks.size()),
                             .position = static_cast<int>(position),
                             .tokens = tokens});
      step.tokens += static_cast<int64_t>(tokens.size());
    }
  }
  return steps;
}

// Writes residual streams one step after the other.
class StreamWriter {
 public:
  static absl::StatusOr<StreamWriter> Create(WorkFolder& work, const std::string& name) {
    ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, work.files().Create(work.PathOf(name)));
    return StreamWriter(std::move(file));
  }
  absl::Status Append(absl::Span<const float> values) {
    const absl::string_view bytes(reinterpret_cast<const char*>(values.data()),
                                  values.size() * sizeof(float));
    checksum_ = Checksum(bytes, checksum_);
    return file_->Append(bytes);
  }
  uint32_t checksum() const { return checksum_; }

 private:
  explicit StreamWriter(std::unique_ptr<WritableFile> file) : file_(std::move(file)) {}

  std::unique_ptr<WritableFile> file_;
  uint32_t checksum_ = 0;
};

}  // namespace

LayeredModel WholeModel(std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec,
                        Backend& backend) {
  return {.layer = [checkpoint](int) { return checkpoint; },
          .ends = checkpoint,
          .spec = &spec,
          .backend = &backend};
}

std::string LayerPass::RecordName(int layer) const {
  return absl::StrFormat("%s-%03d.record", name_, layer);
}

std::string LayerPass::StreamName(int layer) const {
  return absl::StrFormat("%s-%03d.streams", name_, layer);
}

int LayerPass::FinishedLayers() const {
  const int layers = model_.spec->num_layers;
  int finished = 0;
  while (finished < layers && work_.Read(RecordName(finished)).ok()) ++finished;
  if (finished == 0 || finished == layers) return finished;
  const absl::StatusOr<std::string> record = work_.Read(RecordName(finished - 1));
  const absl::StatusOr<std::shared_ptr<const MappedFile>> streams =
      work_.files().Map(work_.PathOf(StreamName(finished)));
  if (!record.ok() || !streams.ok()) return 0;
  const int64_t checksum = RecordReader(*record).Number();
  return Checksum((*streams)->bytes()) == checksum ? finished : 0;
}

absl::StatusOr<int> LayerPass::Observe(LayerStatistics& statistics) {
  const int layers = model_.spec->num_layers;
  const int finished = FinishedLayers();
  if (finished == 0) RETURN_IF_ERROR(Embed());
  for (int layer = finished; layer < layers; ++layer) {
    ASSIGN_OR_RETURN(const uint32_t checksum, RunLayer(layer, layer + 1 == layers, &statistics));
    RecordWriter record;
    record.Put(int64_t{checksum});
    RETURN_IF_ERROR(
        work_.Write(RecordName(layer), absl::StrCat(record.Take(), statistics.Take(layer))));
    RETURN_IF_ERROR(work_.Remove(StreamName(layer)));
  }
  return finished;
}

absl::StatusOr<std::string> LayerPass::Record(int layer) const {
  ASSIGN_OR_RETURN(std::string record, work_.Read(RecordName(layer)));
  record.erase(0, sizeof(int64_t));  // the checksum
  return record;
}

absl::StatusOr<std::shared_ptr<const MappedFile>> LayerPass::Run() {
  RETURN_IF_ERROR(Embed());
  const int layers = model_.spec->num_layers;
  for (int layer = 0; layer < layers; ++layer) {
    RETURN_IF_ERROR(RunLayer(layer, /*last=*/false, nullptr).status());
    RETURN_IF_ERROR(work_.Remove(StreamName(layer)));
  }
  return work_.files().Map(work_.PathOf(StreamName(layers)));
}

absl::Status LayerPass::Embed() {
  const StepLimits limits = CalibrationLimits(LongestOf(sequences_));
  ASSIGN_OR_RETURN(const std::unique_ptr<EndsDecoder> ends,
                   EndsDecoder::Load(model_.ends, *model_.spec, model_.backend, limits));
  ASSIGN_OR_RETURN(StreamWriter writer, StreamWriter::Create(work_, StreamName(0)));
  const int pages = CeilDiv(limits.max_context_tokens, kPageTokens);
  std::vector<float> hidden;
  for (const Step& step : StepsOf(sequences_, limits.max_tokens, limits.max_sequences)) {
    hidden.resize(step.tokens * model_.spec->hidden_size);
    RETURN_IF_ERROR(ends->Embed(BatchOf(step.chunks, pages), absl::MakeSpan(hidden)));
    RETURN_IF_ERROR(writer.Append(hidden));
  }
  model_.ends->ReleasePages();
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> LayerPass::RunLayer(int layer, bool last, DecoderObserver* observer) {
  const StepLimits limits = CalibrationLimits(LongestOf(sequences_));
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> checkpoint, model_.layer(layer));
  ASSIGN_OR_RETURN(const std::unique_ptr<LayerDecoder> decoder,
                   LayerDecoder::Load(checkpoint, *model_.spec, layer, model_.backend, limits));
  const int pages = CeilDiv(limits.max_context_tokens, kPageTokens);
  ASSIGN_OR_RETURN(const std::unique_ptr<KvStore> store,
                   decoder->CreateKvStore(DType::kF32, pages * limits.max_sequences));
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> before,
                   work_.files().Map(work_.PathOf(StreamName(layer))));
  std::optional<StreamWriter> behind;
  if (!last) {
    ASSIGN_OR_RETURN(behind, StreamWriter::Create(work_, StreamName(layer + 1)));
  }
  const std::vector<Step> steps = StepsOf(sequences_, limits.max_tokens, limits.max_sequences);
  std::vector<float> hidden;
  for (size_t i = 0; i < steps.size(); ++i) {
    const Step& step = steps[i];
    const int64_t width = model_.spec->hidden_size * int64_t{sizeof(float)};
    ASSIGN_OR_RETURN(const absl::string_view bytes,
                     before->Slice(step.first * width, step.tokens * width));
    hidden.resize(step.tokens * model_.spec->hidden_size);
    std::memcpy(hidden.data(), bytes.data(), bytes.size());
    before->Advise(0, (step.first + step.tokens) * width, MappedFile::Access::kDontNeed);
    RETURN_IF_ERROR(
        decoder->Run(BatchOf(step.chunks, pages), store.get(), absl::MakeSpan(hidden), observer));
    if (behind) RETURN_IF_ERROR(behind->Append(hidden));
    RETURN_IF_ERROR(progress_(layer, static_cast<int>(i) + 1, static_cast<int>(steps.size())));
  }
  checkpoint->ReleasePages();
  return behind ? behind->checksum() : 0;
}

}  // namespace transmla
