#include "engine/convert/output_refit.h"

#include <algorithm>
#include <cmath>
#include <cstdint>
#include <memory>
#include <utility>

#include "absl/strings/str_cat.h"

#include "engine/base/status.h"
#include "engine/convert/work_record.h"
#include "engine/linalg/float_product.h"
#include "engine/linalg/symmetric_solve.h"

namespace transmla {
namespace {

// How much of the difference of the residual streams before a layer its projection is asked to make
// up for. More would fit the text rather than the model; found on held-back text.
constexpr float kStreamShare = 0.25F;

// Floats of tokens one after the other.
absl::StatusOr<FloatMatrix> Rows(const MappedFile& file, int64_t first, int64_t rows,
                                 int64_t width) {
  ASSIGN_OR_RETURN(
      const absl::string_view bytes,
      file.Slice(first * width * int64_t{sizeof(float)}, rows * width * int64_t{sizeof(float)}));
  FloatMatrix matrix(rows, width);
  std::copy_n(reinterpret_cast<const float*>(bytes.data()), rows * width, matrix.values().data());
  return matrix;
}

// Writes what the source's output projections see.
class AttendedWriter : public DecoderObserver {
 public:
  AttendedWriter(Backend& backend, TokenFile& file) : backend_(backend), file_(file) {}
  absl::Status OnAttentionOutput(int, const TensorView& attended) override {
    buffer_.resize(attended.shape.elements());
    RETURN_IF_ERROR(backend_.Read(attended, absl::MakeSpan(buffer_)));
    return file_.Append(buffer_);
  }

 private:
  Backend& backend_;
  TokenFile& file_;
  std::vector<float> buffer_;
};

// What a layer of the result is fitted to. All must outlive the fit.
struct RefitTarget {
  const MappedFile* source_streams = nullptr;   // before the layer
  const MappedFile* source_attended = nullptr;  // what the source's output projection sees
  const MappedFile* result_streams = nullptr;
  const FloatMatrix* output = nullptr;  // the source's projection, [D, P]
  absl::Span<const double> bias;        // RefittedModel::bias
  float stream_share = 0;
  float epsilon = 0;  // of norms
};

// With y what the result's output projection sees, and a 1 behind it if there is a bias, and r what
// its output lacks: Σ w·y·yᵀ and Σ w·r·yᵀ over the tokens that it watches.
class RefitSums : public DecoderObserver {
 public:
  RefitSums(Backend& backend, const RefitTarget& target)
      : backend_(backend),
        target_(target),
        width_(target.output->cols() + (target.bias.empty() ? 0 : 1)),
        square_(width_, width_),
        cross_(target.output->rows(), width_) {}

  absl::Status OnAttentionOutput(int, const TensorView& attended) override {
    const int64_t tokens = attended.shape[0];
    const int64_t inner = target_.output->cols(), hidden = target_.output->rows();
    FloatMatrix seen(tokens, inner);
    RETURN_IF_ERROR(backend_.Read(attended, absl::MakeSpan(seen.values())));
    ASSIGN_OR_RETURN(FloatMatrix lacking, Rows(*target_.source_attended, first_, tokens, inner));
    ASSIGN_OR_RETURN(const FloatMatrix source,
                     Rows(*target_.source_streams, first_, tokens, hidden));
    ASSIGN_OR_RETURN(const FloatMatrix result,
                     Rows(*target_.result_streams, first_, tokens, hidden));
    first_ += tokens;
    for (size_t i = 0; i < lacking.values().size(); ++i) lacking.values()[i] -= seen.values()[i];
    FloatMatrix rest(tokens, hidden);
    MultiplyFloats(lacking, Transpose::kNo, *target_.output, Transpose::kYes, /*accumulate=*/false,
                   rest.view());
    FloatMatrix regressors(tokens, width_);
    for (int64_t t = 0; t < tokens; ++t) {
      double square = 0;
      for (int64_t j = 0; j < hidden; ++j) square += double{source.row(t)[j]} * source.row(t)[j];
      // The next norm divides the stream by as much.
      const auto root = static_cast<float>(
          1 / std::sqrt(square / static_cast<double>(hidden) + double{target_.epsilon}));
      for (int64_t j = 0; j < hidden; ++j) {
        float& value = rest.row(t)[j];
        value += target_.stream_share * (source.row(t)[j] - result.row(t)[j]);
        if (!target_.bias.empty()) value -= static_cast<float>(target_.bias[j]);
        value *= root;
      }
      for (int64_t j = 0; j < inner; ++j) regressors.row(t)[j] = root * seen.row(t)[j];
      if (width_ > inner) regressors.row(t)[inner] = root;
    }
    Add(regressors, regressors, square_);
    Add(rest, regressors, cross_);
    return absl::OkStatus();
  }

  // What to add to the projection, and to the bias as a last column, [D, width].
  absl::StatusOr<Matrix> Solve() {
    // Of P unknowns a row, first_ tokens tell; the fewer, the nearer the projection stays to the
    // source's. A quarter of that share, found on held-back text, where anything from a tenth to
    // ten times as much does nearly as well.
    const double ridge = Trace(square_, 0, width_) / (4 * static_cast<double>(first_));
    // A layer that sees only zeros has nothing to fit.
    if (!(ridge > 0)) return Matrix(cross_.rows(), width_);
    for (int64_t i = 0; i < width_; ++i) {
      square_(i, i) += ridge;
      // Sums of float32 products are symmetric but for rounding.
      for (int64_t j = 0; j < i; ++j) square_(j, i) = square_(i, j);
    }
    return SolveSymmetric(square_, cross_);
  }

 private:
  // sum += aᵀ · b; products of a step's rows in float32 are sums of few enough terms.
  static void Add(const FloatMatrix& a, const FloatMatrix& b, Matrix& sum) {
    FloatMatrix product(a.cols(), b.cols());
    MultiplyFloats(a, Transpose::kYes, b, Transpose::kNo, /*accumulate=*/false, product.view());
    for (size_t i = 0; i < product.values().size(); ++i) sum.values()[i] += product.values()[i];
  }

  Backend& backend_;
  const RefitTarget& target_;
  const int64_t width_;
  int64_t first_ = 0;  // token of the next step
  Matrix square_, cross_;
};

// One refit, layer by layer.
class Refit {
 public:
  Refit(WorkFolder& work, const std::string& name, const LayeredModel& source,
        const SourceWeights& weights, const RefittedModel& result, TokenSequences text,
        const RefitProgress& progress)
      : work_(work),
        name_(name),
        weights_(weights),
        result_(result),
        progress_(progress),
        source_streams_(work, name + "-source", source, text),
        result_streams_(work, name + "-result", result.model, text) {}

  absl::Status Run() {
    const int finished = Finished();
    if (finished == 0) {
      RETURN_IF_ERROR(source_streams_.Embed());
      RETURN_IF_ERROR(result_streams_.Embed());
    }
    for (int layer = finished; layer < num_layers(); ++layer) {
      const absl::Status done = RunLayer(layer);
      if (!done.ok()) return Annotate(done, absl::StrCat("layer ", layer));
    }
    return absl::OkStatus();
  }

 private:
  int num_layers() const { return weights_.spec().num_layers; }
  LayerStreams::Progress Part(int layer, int part) const {
    constexpr int kParts = 3;
    return [this, layer, part](int done, int total) {
      return progress_(layer, part * total + done, kParts * total);
    };
  }

  // Layers that need not be run again: as FinishedLayers, and nothing that was kept of them is
  // lost.
  int Finished() const {
    const int finished =
        FinishedLayers(work_, name_, num_layers(), {&source_streams_, &result_streams_});
    for (int layer = 0; layer < finished; ++layer) {
      if (!result_.has(layer)) return 0;
    }
    return finished;
  }

  absl::Status RunLayer(int layer) {
    const bool last = layer + 1 == num_layers();
    const std::string attended_name = name_ + "-attended.streams";
    RecordWriter record;
    {
      ASSIGN_OR_RETURN(TokenFile attended, TokenFile::Create(work_, attended_name));
      AttendedWriter writer(*source_streams_.model().backend, attended);
      uint32_t checksum = 0;
      if (last) {
        RETURN_IF_ERROR(source_streams_.Attend(layer, writer, Part(layer, 0)));
      } else {
        ASSIGN_OR_RETURN(checksum, source_streams_.Run(layer, &writer, Part(layer, 0)));
      }
      record.Put(int64_t{checksum});
    }
    ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> attended,
                     work_.files().Map(work_.PathOf(attended_name)));
    RETURN_IF_ERROR(FitLayer(layer, *attended));
    uint32_t checksum = 0;
    if (!last) {
      ASSIGN_OR_RETURN(checksum, result_streams_.Run(layer, nullptr, Part(layer, 2)));
    }
    record.Put(int64_t{checksum});
    RETURN_IF_ERROR(work_.Write(LayerRecordName(name_, layer), record.Take()));
    for (LayerStreams* streams : {&source_streams_, &result_streams_})
      RETURN_IF_ERROR(streams->Remove(layer));
    return work_.Remove(attended_name);
  }

  absl::Status FitLayer(int layer, const MappedFile& attended) {
    ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> source_streams,
                     source_streams_.Before(layer));
    ASSIGN_OR_RETURN(const std::shared_ptr<const MappedFile> result_streams,
                     result_streams_.Before(layer));
    ASSIGN_OR_RETURN(Matrix output, weights_.Output(layer));
    ASSIGN_OR_RETURN(std::vector<double> bias, result_.bias(layer));
    const FloatMatrix floats = ToFloats(output);
    const ModelSpec& spec = weights_.spec();
    RefitTarget target{.source_streams = source_streams.get(),
                       .source_attended = &attended,
                       .result_streams = result_streams.get(),
                       .output = &floats,
                       .bias = bias,
                       // A norm behind the block would bend what it adds.
                       .stream_share = spec.post_norms ? 0 : kStreamShare,
                       .epsilon = spec.norm_eps};
    RefitSums sums(*result_streams_.model().backend, target);
    RETURN_IF_ERROR(result_streams_.Attend(layer, sums, Part(layer, 1)));
    ASSIGN_OR_RETURN(const Matrix change, sums.Solve());
    for (int64_t i = 0; i < output.rows(); ++i) {
      for (int64_t j = 0; j < output.cols(); ++j) output(i, j) += change(i, j);
      if (!bias.empty()) bias[i] += change(i, output.cols());
    }
    return result_.keep(layer, output, bias);
  }

  WorkFolder& work_;
  const std::string name_;
  const SourceWeights& weights_;
  const RefittedModel& result_;
  const RefitProgress& progress_;
  LayerStreams source_streams_;
  LayerStreams result_streams_;
};

}  // namespace

absl::Status RefitOutputs(WorkFolder& work, const std::string& name, const LayeredModel& source,
                          const SourceWeights& weights, const RefittedModel& result,
                          TokenSequences text, const RefitProgress& progress) {
  return Refit(work, name, source, weights, result, text, progress).Run();
}

}  // namespace transmla
