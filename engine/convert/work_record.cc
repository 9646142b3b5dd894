#include "engine/convert/work_record.h"

#include <utility>

namespace transmla {
namespace {

template <typename T>
Matrix MatrixOf(int64_t rows, int64_t cols, const std::vector<T>& values) {
  Matrix matrix(rows, cols);
  for (size_t i = 0; i < values.size(); ++i) matrix.values()[i] = values[i];
  return matrix;
}

bool HasShape(int64_t rows, int64_t cols, size_t values) {
  return rows >= 0 && cols >= 0 && static_cast<size_t>(rows) * static_cast<size_t>(cols) == values;
}

}  // namespace

void RecordWriter::Put(const Matrix& matrix) {
  Put(matrix.rows());
  Put(matrix.cols());
  Put(matrix.values());
}

void RecordWriter::PutRounded(const Matrix& matrix) {
  Put(matrix.rows());
  Put(matrix.cols());
  Put(std::vector<float>(matrix.values().begin(), matrix.values().end()));
}

void RecordWriter::Put(const FloatMatrix& matrix) {
  Put(matrix.rows());
  Put(matrix.cols());
  Put(matrix.values());
}

int64_t RecordReader::Number() {
  int64_t value = 0;
  if (rest_.size() < sizeof(value)) {
    Fail();
    return 0;
  }
  std::memcpy(&value, rest_.data(), sizeof(value));
  rest_.remove_prefix(sizeof(value));
  return value;
}

Matrix RecordReader::ReadMatrix() {
  const int64_t rows = Number(), cols = Number();
  const std::vector<double> values = Values<double>();
  if (HasShape(rows, cols, values.size())) return MatrixOf(rows, cols, values);
  Fail();
  return {};
}

Matrix RecordReader::ReadRounded() {
  const int64_t rows = Number(), cols = Number();
  const std::vector<float> values = Values<float>();
  if (HasShape(rows, cols, values.size())) return MatrixOf(rows, cols, values);
  Fail();
  return {};
}

void RecordReader::ReadTo(FloatMatrix& to) {
  const int64_t rows = Number(), cols = Number();
  std::vector<float> values = Values<float>();
  if (rows != to.rows() || cols != to.cols() || values.size() != to.values().size()) return Fail();
  to.values() = std::move(values);
}

absl::Status RecordReader::Finish() const {
  if (!failed_ && rest_.empty()) return absl::OkStatus();
  return absl::DataLossError("a record of the conversion's work folder is not whole");
}

}  // namespace transmla
