# Decides whether the CUDA backend is built. Without it engine/backend/cuda/unavailable.cc is linked instead.
include(CheckLanguage)
if(TRANSMLA_CUDA STREQUAL "AUTO")
  check_language(CUDA)
  if(CMAKE_CUDA_COMPILER)
    # A compiler alone is not enough: distributions package cuBLAS apart from it.
    find_package(CUDAToolkit 12.8 QUIET)
  endif()
  if(CMAKE_CUDA_COMPILER AND TARGET CUDA::cublas AND TARGET CUDA::cudart_static)
    set(TRANSMLA_CUDA_ENABLED ON)
  else()
    set(TRANSMLA_CUDA_ENABLED OFF)
  endif()
else()
  set(TRANSMLA_CUDA_ENABLED ${TRANSMLA_CUDA})
endif()
if(TRANSMLA_CUDA_ENABLED)
  # Machine code for A100, H100, B200 and RTX 50 (and their relatives of the same major number), and PTX of the last for
  # devices to come.
  set(CMAKE_CUDA_ARCHITECTURES 80-real 90-real 100-real 120 CACHE STRING "CUDA architectures")
  if(TRANSMLA_CCACHE)
    set(CMAKE_CUDA_COMPILER_LAUNCHER ${TRANSMLA_CCACHE})
  endif()
  enable_language(CUDA)
  find_package(CUDAToolkit 12.8 REQUIRED)  # the first that knows sm_100 and sm_120
  # CMake 3.25.1 does not know that nvcc has C++20.
  if(NOT CMAKE_CUDA20_STANDARD_COMPILE_OPTION)
    set(CMAKE_CUDA20_STANDARD_COMPILE_OPTION -std=c++20)
  endif()
  set(CMAKE_CUDA_STANDARD 20)
  set(CMAKE_CUDA_EXTENSIONS OFF)
  # Debian's packages name the host compiler's own folder, which must keep its place in the search order.
  list(APPEND CMAKE_CUDA_IMPLICIT_INCLUDE_DIRECTORIES ${CMAKE_CXX_IMPLICIT_INCLUDE_DIRECTORIES})
  # The processor's flags as for C++ (compiler.cmake); constexpr functions are shared with device code.
  add_compile_options("$<$<COMPILE_LANGUAGE:CUDA>:--expt-relaxed-constexpr;-Xcompiler=-march=x86-64-v2>")
  target_compile_options(transmla_warnings INTERFACE
    "$<$<COMPILE_LANGUAGE:CUDA>:-Werror=all-warnings;-Xcompiler=-Wall,-Wextra,-Wno-missing-field-initializers,-Werror>")
endif()
message(STATUS "CUDA backend: ${TRANSMLA_CUDA_ENABLED}")
