#include "engine/convert/layer_streams.h"

#include <algorithm>
#include <cstring>
#include <vector>

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

}  // namespace

LayeredModel WholeModel(std::shared_ptr<const CheckpointReader> checkpoint, const ModelSpec& spec,
                        Backend& backend) {
  return {.layer = [checkpoint](int) { return checkpoint; },
          .ends = checkpoint,
          .spec = &spec,
          .backend = &backend};
}

absl::StatusOr<TokenFile> TokenFile::Create(WorkFolder& work, absl::string_view name) {
  ASSIGN_OR_RETURN(std::unique_ptr<WritableFile> file, work.files().Create(work.PathOf(name)));
  return TokenFile(std::move(file));
}

absl::Status TokenFile::Append(absl::Span<const float> values) {
  const absl::string_view bytes(reinterpret_cast<const char*>(values.data()),
                                values.size() * sizeof(float));
  checksum_ = Checksum(bytes, checksum_);
  return file_->Append(bytes);
}

std::string LayerStreams::NameOf(int layer) const {
  return absl::StrFormat("%s-%03d.streams", name_, layer);
}

absl::StatusOr<std::shared_ptr<const MappedFile>> LayerStreams::Before(int layer) const {
  return work_.files().Map(work_.PathOf(NameOf(layer)));
}

bool LayerStreams::IsWhole(int layer, int64_t checksum) const {
  const absl::StatusOr<std::shared_ptr<const MappedFile>> streams = Before(layer);
  return streams.ok() && Checksum((*streams)->bytes()) == checksum;
}

absl::Status LayerStreams::Remove(int layer) { return work_.Remove(NameOf(layer)); }

absl::Status LayerStreams::Embed() {
  const StepLimits limits = CalibrationLimits(LongestOf(sequences_));
  ASSIGN_OR_RETURN(const std::unique_ptr<EndsDecoder> ends,
                   EndsDecoder::Load(model_.ends, *model_.spec, model_.backend, limits));
  ASSIGN_OR_RETURN(TokenFile file, TokenFile::Create(work_, NameOf(0)));
  const int pages = CeilDiv(limits.max_context_tokens, kPageTokens);
  std::vector<float> hidden;
  for (const Step& step : StepsOf(sequences_, limits.max_tokens, limits.max_sequences)) {
    hidden.resize(step.tokens * model_.spec->hidden_size);
    RETURN_IF_ERROR(ends->Embed(BatchOf(step.chunks, pages), absl::MakeSpan(hidden)));
    RETURN_IF_ERROR(file.Append(hidden));
  }
  model_.ends->ReleasePages();
  return absl::OkStatus();
}

absl::Status LayerStreams::ForEachStep(int layer, const RunStep& run, const Progress& progress) {
  const StepLimits limits = CalibrationLimits(LongestOf(sequences_));
  ASSIGN_OR_RETURN(const std::shared_ptr<const CheckpointReader> checkpoint, model_.layer(layer));
  ASSIGN_OR_RETURN(const std::unique_ptr<LayerDecoder> decoder,
                   LayerDecoder::Load(checkpoint, *model_.spec, layer, model_.backend, limits));
  const int pages = CeilDiv(limits.max_context_tokens, kPageTokens);
  ASSIGN_OR_RETURN(const std::unique_ptr<KvStore> store,
                   decoder->CreateKvStore(DType::kF32, pages * limits.max_sequences));
  ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> before, Before(layer));
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
        run(*decoder, BatchOf(step.chunks, pages), store.get(), absl::MakeSpan(hidden)));
    RETURN_IF_ERROR(progress(static_cast<int>(i) + 1, static_cast<int>(steps.size())));
  }
  checkpoint->ReleasePages();
  return absl::OkStatus();
}

absl::StatusOr<uint32_t> LayerStreams::Run(int layer, DecoderObserver* observer,
                                           const Progress& progress) {
  ASSIGN_OR_RETURN(TokenFile behind, TokenFile::Create(work_, NameOf(layer + 1)));
  const auto run = [&](LayerDecoder& decoder, const RaggedBatch& batch, KvStore* store,
                       absl::Span<float> hidden) -> absl::Status {
    RETURN_IF_ERROR(decoder.Run(batch, store, hidden, observer));
    return behind.Append(hidden);
  };
  RETURN_IF_ERROR(ForEachStep(layer, run, progress));
  return behind.checksum();
}

absl::Status LayerStreams::Attend(int layer, DecoderObserver& observer, const Progress& progress) {
  return ForEachStep(
      layer,
      [&](LayerDecoder& decoder, const RaggedBatch& batch, KvStore* store,
          absl::Span<float> hidden) { return decoder.Attend(batch, store, hidden, observer); },
      progress);
}

std::string LayerRecordName(absl::string_view pass, int layer) {
  return absl::StrFormat("%s-%03d.record", pass, layer);
}

int FinishedLayers(const WorkFolder& work, absl::string_view pass, int num_layers,
                   absl::Span<const LayerStreams* const> streams) {
  int finished = 0;
  while (finished < num_layers && work.Read(LayerRecordName(pass, finished)).ok()) ++finished;
  if (finished == 0 || finished == num_layers) return finished;
  const absl::StatusOr<std::string> record = work.Read(LayerRecordName(pass, finished - 1));
  if (!record.ok()) return 0;
  RecordReader reader(*record);
  for (const LayerStreams* part : streams) {
    if (!part->IsWhole(finished, reader.Number())) return 0;
  }
  return finished;
}

}  // namespace transmla
