# Every third party in one place. All come from Debian 12 (scripts/install-deps); the comment names the folder that may use it.
find_package(absl REQUIRED)                         # 20220623, everywhere
find_package(Threads REQUIRED)
find_package(PkgConfig REQUIRED)
find_package(Protobuf 3.21 REQUIRED)                # server, client/lib
find_package(nlohmann_json 3.11 REQUIRED)           # .cc files of format, tokenizer, convert, server, client/cli
pkg_check_modules(GRPCPP REQUIRED IMPORTED_TARGET grpc++)           # 1.51, server, client/lib
pkg_check_modules(PCRE2 REQUIRED IMPORTED_TARGET libpcre2-8)        # engine/tokenizer
pkg_check_modules(SENTENCEPIECE REQUIRED IMPORTED_TARGET sentencepiece)  # engine/tokenizer
pkg_check_modules(UTF8PROC REQUIRED IMPORTED_TARGET libutf8proc)     # engine/tokenizer
find_package(ZLIB REQUIRED)                         # engine/convert: checksums
find_package(spdlog 1.10 REQUIRED)                  # server
find_package(prometheus-cpp CONFIG REQUIRED)        # server
find_library(LAPACKE_LIBRARY lapacke REQUIRED)      # engine/linalg
find_library(LAPACK_LIBRARY lapack REQUIRED)        # engine/linalg
find_library(BLAS_LIBRARY NAMES openblas blas REQUIRED)  # engine/linalg
if(TRANSMLA_TESTS)
  find_package(GTest REQUIRED)
endif()
if(TRANSMLA_BENCH)
  find_package(benchmark REQUIRED)
endif()
