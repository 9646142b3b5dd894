// CHECK: for our own bugs only; whatever input can cause is an absl::Status (status.h).
//
// A failed check prints file, line, the condition and both operands, and aborts.
#ifndef TRANSMLA_ENGINE_BASE_CHECK_H_
#define TRANSMLA_ENGINE_BASE_CHECK_H_

#include <string>

#include "absl/base/optimization.h"
#include "absl/strings/str_cat.h"
#include "absl/strings/string_view.h"

namespace transmla {

// Prints "FILE:LINE: CHECK failed: WHAT" on standard error and aborts.
[[noreturn]] void CheckFailed(const char* file, int line, absl::string_view what);

}  // namespace transmla

#define CHECK(condition)                                       \
  do {                                                         \
    if (ABSL_PREDICT_FALSE(!(condition))) {                    \
      ::transmla::CheckFailed(__FILE__, __LINE__, #condition); \
    }                                                          \
  } while (false)

#define TRANSMLA_CHECK_OP_(a, op, b)                                                   \
  do {                                                                                 \
    const auto& check_a_ = (a);                                                        \
    const auto& check_b_ = (b);                                                        \
    if (ABSL_PREDICT_FALSE(!(check_a_ op check_b_))) {                                 \
      ::transmla::CheckFailed(                                                         \
          __FILE__, __LINE__,                                                          \
          absl::StrCat(#a " " #op " " #b " (", check_a_, " against ", check_b_, ")")); \
    }                                                                                  \
  } while (false)

// Operands must be printable by absl::StrCat.
#define CHECK_EQ(a, b) TRANSMLA_CHECK_OP_(a, ==, b)
#define CHECK_NE(a, b) TRANSMLA_CHECK_OP_(a, !=, b)
#define CHECK_LT(a, b) TRANSMLA_CHECK_OP_(a, <, b)
#define CHECK_LE(a, b) TRANSMLA_CHECK_OP_(a, <=, b)
#define CHECK_GT(a, b) TRANSMLA_CHECK_OP_(a, >, b)
#define CHECK_GE(a, b) TRANSMLA_CHECK_OP_(a, >=, b)
#define CHECK_OK(expr)                                                                 \
  do {                                                                                 \
    if (const auto& check_status_ = (expr); ABSL_PREDICT_FALSE(!check_status_.ok())) { \
      ::transmla::CheckFailed(__FILE__, __LINE__,                                      \
                              absl::StrCat(#expr " is ", check_status_.ToString()));   \
    }                                                                                  \
  } while (false)

#endif  // TRANSMLA_ENGINE_BASE_CHECK_H_
