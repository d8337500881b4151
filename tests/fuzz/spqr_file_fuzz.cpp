// .spqr: any bytes open or give an error, and every row of every packed module of what opens can be computed.
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <new>
#include <span>
#include <stdexcept>
#include <variant>
#include <vector>

#include "models/spqr_file.h"

namespace {

constexpr std::size_t kAlignment = 64;
constexpr std::int64_t kManyColumns = 1 << 20;

struct AlignedDelete {
  void operator()(std::byte* bytes) const { ::operator delete[](bytes, std::align_val_t(kAlignment)); }
};

void read_all(const spqr::SpqrFile& file) {
  for (const spqr::SpqrFileModule& module : file.modules()) {
    const auto* packed = std::get_if<spqr::SpqrMatrix>(&module.linear.weight);
    if (packed == nullptr || packed->n > kManyColumns) continue;
    std::vector<float> row(static_cast<std::size_t>(packed->n));
    for (std::int64_t i = 0; i < packed->m; ++i) spqr::dequantize_row(*packed, i, row.data());
    for (const std::uint32_t column : file.perm(module.perm_name)) row.at(column) = 0;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::unique_ptr<std::byte, AlignedDelete> copy(
      static_cast<std::byte*>(::operator new[](size + 1, std::align_val_t(kAlignment))));
  std::memcpy(copy.get(), data, size);
  try {
    const auto file = spqr::SpqrFile::parse(spqr::FileBytes::view({copy.get(), size}), "fuzz");
    read_all(file);
    file.verify();
  } catch (const std::runtime_error&) {
  }
  return 0;
}
