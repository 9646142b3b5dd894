// Bytes of what a conversion keeps on disk between its steps: numbers one after the other, each
// sequence with its length before it. For this machine and this program only.
#ifndef TRANSMLA_ENGINE_CONVERT_WORK_RECORD_H_
#define TRANSMLA_ENGINE_CONVERT_WORK_RECORD_H_

#include <cstdint>
#include <cstring>
#include <string>
#include <vector>

#include "absl/status/status.h"
#include "absl/strings/string_view.h"
#include "absl/types/span.h"

#include "engine/linalg/float_product.h"
#include "engine/linalg/matrix.h"

namespace transmla {

class RecordWriter {
 public:
  void Put(int64_t value) { Append(&value, sizeof(value)); }
  template <typename T>
  void Put(absl::Span<const T> values) {
    Put(static_cast<int64_t>(values.size()));
    Append(values.data(), values.size() * sizeof(T));
  }
  template <typename T>
  void Put(const std::vector<T>& values) {
    Put(absl::MakeConstSpan(values));
  }
  // In float64, or rounded to float32.
  void Put(const Matrix& matrix);
  void PutRounded(const Matrix& matrix);
  void Put(const FloatMatrix& matrix);

  std::string Take() { return std::move(bytes_); }

 private:
  void Append(const void* data, size_t size) {
    bytes_.append(static_cast<const char*>(data), size);
  }
  std::string bytes_;
};

// Reads in the order in which it was written. What is not there reads as nothing, and status()
// says so. The bytes must outlive it.
class RecordReader {
 public:
  explicit RecordReader(absl::string_view bytes) : rest_(bytes) {}

  int64_t Number();
  template <typename T>
  std::vector<T> Values() {
    const int64_t size = Number();
    if (size < 0 || size > static_cast<int64_t>(rest_.size() / sizeof(T))) {
      Fail();
      return {};
    }
    std::vector<T> values(size);
    if (size > 0) std::memcpy(values.data(), rest_.data(), size * sizeof(T));
    rest_.remove_prefix(size * sizeof(T));
    return values;
  }
  Matrix ReadMatrix();
  Matrix ReadRounded();
  // Fails unless the matrix that was written has the shape of `to`.
  void ReadTo(FloatMatrix& to);

  // DataLoss if a read went past the end, or one of whole records left something.
  absl::Status Finish() const;

 private:
  void Fail() {
    failed_ = true;
    rest_ = {};
  }
  absl::string_view rest_;
  bool failed_ = false;
};

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_CONVERT_WORK_RECORD_H_
