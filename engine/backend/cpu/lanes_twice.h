// TwiceLanes: two vectors of L as one, the first one's lanes first, for panel_dot_vnni_inl.h.
// Included by headers of lanes.
#ifndef TRANSMLA_ENGINE_BACKEND_CPU_LANES_TWICE_H_
#define TRANSMLA_ENGINE_BACKEND_CPU_LANES_TWICE_H_

#include <cstdint>

namespace transmla::cpu {
namespace {

template <typename L>
struct TwiceLanes {
  static constexpr int kWidth = 2 * L::kWidth;
  static constexpr int kBytes = 4 * L::kWidth;  // of one of the two
  struct I {
    typename L::I first, second;
  };
  struct F {
    typename L::F first, second;
  };

  static I LoadBytes(const uint8_t* p) { return {L::LoadBytes(p), L::LoadBytes(p + kBytes)}; }
  static I Broadcast4(const uint8_t* p) {
    const typename L::I bytes = L::Broadcast4(p);
    return {bytes, bytes};
  }
  static I AddProducts(const I& sum, const I& u8, const I& s8) {
    return {L::AddProducts(sum.first, u8.first, s8.first),
            L::AddProducts(sum.second, u8.second, s8.second)};
  }
  static I Zero32() { return {L::Zero32(), L::Zero32()}; }
  static I Add32(const I& a, const I& b) {
    return {L::Add32(a.first, b.first), L::Add32(a.second, b.second)};
  }
  static I Sub32(const I& a, const I& b) {
    return {L::Sub32(a.first, b.first), L::Sub32(a.second, b.second)};
  }
  template <int kBits>
  static I ShiftLeft32(const I& a) {
    return {L::template ShiftLeft32<kBits>(a.first), L::template ShiftLeft32<kBits>(a.second)};
  }
  static F ToFloat(const I& a) { return {L::ToFloat(a.first), L::ToFloat(a.second)}; }

  static F Zero() { return {L::Zero(), L::Zero()}; }
  static F Set1(float a) { return {L::Set1(a), L::Set1(a)}; }
  static F Load(const float* p) { return {L::Load(p), L::Load(p + L::kWidth)}; }
  static void Store(float* p, const F& a) {
    L::Store(p, a.first);
    L::Store(p + L::kWidth, a.second);
  }
  static F Add(const F& a, const F& b) {
    return {L::Add(a.first, b.first), L::Add(a.second, b.second)};
  }
  static F Mul(const F& a, const F& b) {
    return {L::Mul(a.first, b.first), L::Mul(a.second, b.second)};
  }
  static F Fma(const F& a, const F& b, const F& c) {
    return {L::Fma(a.first, b.first, c.first), L::Fma(a.second, b.second, c.second)};
  }
};

}  // namespace
}  // namespace transmla::cpu

#endif  // TRANSMLA_ENGINE_BACKEND_CPU_LANES_TWICE_H_
