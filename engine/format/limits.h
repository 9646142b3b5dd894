// Limits of what a model file may claim. A file beyond one is refused by name and number before
// anything is allocated.
//
// They bound the work and memory that a hostile file can cause; each leaves room above the largest
// published models.
#ifndef TRANSMLA_ENGINE_FORMAT_LIMITS_H_
#define TRANSMLA_ENGINE_FORMAT_LIMITS_H_

#include <cstdint>

namespace transmla {

// --- GGUF ---
// Published files have 20 to 60 metadata entries.
inline constexpr int64_t kMaxGgufMetadataEntries = 1 << 16;
// The specification's own limit on a key.
inline constexpr int64_t kMaxGgufKeyBytes = (1 << 16) - 1;
// The specification's own limit on a tensor's name.
inline constexpr int64_t kMaxGgufTensorNameBytes = 64;
// A string value: chat templates reach some 20 KB, licences 100 KB.
inline constexpr int64_t kMaxGgufStringBytes = 16 << 20;
// Elements of one array: merges of the largest vocabularies are half a million.
inline constexpr int64_t kMaxGgufArrayElements = 1 << 26;
// Arrays of arrays occur in no published model; deeper nesting could only exhaust the stack.
inline constexpr int kMaxGgufArrayDepth = 4;
// All arrays inside arrays together: each costs some 100 bytes here but only 12 in the file.
inline constexpr int64_t kMaxGgufNestedArrays = 1 << 16;
// A model of 1024 layers with 60 tensors each.
inline constexpr int64_t kMaxTensors = 1 << 16;
// general.alignment; 32 by default. Larger than a huge page makes no sense.
inline constexpr int64_t kMaxGgufAlignment = 1 << 21;

// --- safetensors ---
// The format allows 100 MB, but a parsed header takes some twenty times its bytes of memory; 65,536
// tensors with names of 300 bytes fit.
inline constexpr int64_t kMaxSafetensorsHeaderBytes = 32 << 20;
inline constexpr int64_t kMaxShards = 4096;
inline constexpr int64_t kMaxTensorNameBytes = 1024;

// --- JSON ---
// config.json and generation_config.json are a few kilobytes; label maps make some larger.
inline constexpr int64_t kMaxConfigBytes = 4 << 20;
// model.safetensors.index.json: some 100 bytes a tensor.
inline constexpr int64_t kMaxIndexBytes = 64 << 20;
// Real files nest four deep.
inline constexpr int kMaxJsonDepth = 32;

// --- hyper-parameters ---
inline constexpr int64_t kMaxVocabSize = 1 << 22;   // largest published: 262,208
inline constexpr int64_t kMaxHiddenSize = 1 << 17;  // largest published: 18,432
inline constexpr int64_t kMaxIntermediateSize = 1 << 20;
inline constexpr int64_t kMaxLayers = 1024;  // largest published: 126
inline constexpr int64_t kMaxHeads = 1024;
inline constexpr int64_t kMaxHeadDim = 1 << 14;  // converted models cache one wide head
inline constexpr int64_t kMaxContext = 1 << 27;  // largest published: 10 million
inline constexpr int64_t kMaxExperts = 4096;

}  // namespace transmla

#endif  // TRANSMLA_ENGINE_FORMAT_LIMITS_H_
