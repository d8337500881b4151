#include "models/zip_archive.h"

#include <fmt/format.h>
#include <zip.h>

#include <algorithm>
#include <stdexcept>

namespace spqr {

struct ZipArchive::State {
  std::string where;
  zip_t* archive = nullptr;

  [[noreturn]] void fail(const std::string& what) const {
    throw std::runtime_error(fmt::format("{}: {}", where, what));
  }
};

namespace {

// libzip's words for what went wrong.
std::string text_of(zip_error_t error) {
  std::string text = zip_error_strerror(&error);
  zip_error_fini(&error);
  return text;
}

bool is_stored(zip_t* archive, const std::string& name) {
  zip_stat_t found;
  return zip_stat(archive, name.c_str(), ZIP_FL_ENC_RAW, &found) == 0 &&
         (found.valid & ZIP_STAT_COMP_METHOD) != 0 && found.comp_method == ZIP_CM_STORE;
}

struct Closing {
  void operator()(zip_file_t* file) const { zip_fclose(file); }
};

}  // namespace

ZipArchive::ZipArchive(std::span<const std::byte> bytes, std::string where)
    : state_(std::make_unique<State>()) {
  state_->where = std::move(where);
  zip_error_t error;
  zip_error_init(&error);
  zip_source_t* source = zip_source_buffer_create(bytes.data(), bytes.size(), 0, &error);
  if (source != nullptr) state_->archive = zip_open_from_source(source, ZIP_RDONLY | ZIP_CHECKCONS, &error);
  if (state_->archive == nullptr) {
    zip_source_free(source);
    state_->fail(fmt::format("is no intact zip archive ({}): incomplete download?", text_of(error)));
  }
  zip_error_fini(&error);
}

ZipArchive::~ZipArchive() {
  zip_discard(state_->archive);
}

std::vector<std::string> ZipArchive::names() const {
  std::vector<std::string> names;
  const zip_int64_t count = zip_get_num_entries(state_->archive, 0);
  for (zip_int64_t i = 0; i < count; ++i) {
    const char* name = zip_get_name(state_->archive, static_cast<zip_uint64_t>(i), ZIP_FL_ENC_RAW);
    if (name != nullptr) names.emplace_back(name);
  }
  return names;
}

std::optional<std::uint64_t> ZipArchive::size_of(const std::string& name) const {
  zip_stat_t found;
  if (zip_stat(state_->archive, name.c_str(), ZIP_FL_ENC_RAW, &found) != 0) return std::nullopt;
  if ((found.valid & ZIP_STAT_SIZE) == 0) return std::nullopt;
  return found.size;
}

void ZipArchive::read(const std::string& name, std::uint64_t offset, std::span<std::byte> out) const {
  const std::unique_ptr<zip_file_t, Closing> file(zip_fopen(state_->archive, name.c_str(), ZIP_FL_ENC_RAW));
  if (!file) state_->fail(fmt::format("entry {} cannot be opened ({})", name, zip_strerror(state_->archive)));
  const auto take = [&](std::span<std::byte> target) {
    while (!target.empty()) {
      const zip_int64_t count = zip_fread(file.get(), target.data(), target.size());
      if (count < 0)
        state_->fail(fmt::format("entry {} cannot be read ({})", name, zip_file_strerror(file.get())));
      if (count == 0) state_->fail(fmt::format("entry {} is shorter than it should be", name));
      target = target.subspan(static_cast<std::size_t>(count));
    }
  };
  // Stored entries can be sought in; compressed ones are read up to the place.
  if (offset > 0 && is_stored(state_->archive, name)) {
    if (zip_fseek(file.get(), static_cast<zip_int64_t>(offset), SEEK_SET) != 0)
      state_->fail(fmt::format("entry {} cannot be read from byte {} on", name, offset));
  } else if (offset > 0) {
    std::vector<std::byte> skipped(1U << 16);
    for (std::uint64_t left = offset; left > 0;) {
      const std::uint64_t count = std::min<std::uint64_t>(left, skipped.size());
      take(std::span(skipped).first(static_cast<std::size_t>(count)));
      left -= count;
    }
  }
  take(out);
  // At the end libzip compares the checksum of what it was read from the beginning.
  std::byte more{};
  if (zip_fread(file.get(), &more, 1) < 0)
    state_->fail(fmt::format("entry {} is damaged ({})", name, zip_file_strerror(file.get())));
}

}  // namespace spqr
