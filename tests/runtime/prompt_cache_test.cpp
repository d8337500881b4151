#include "runtime/prompt_cache.h"

#include <doctest/doctest.h>

#include <numeric>

#include "tests/models/files.h"
#include "tests/runtime/small_models.h"

namespace spqr {
namespace {

class Saved {
 public:
  Saved() {
    write_stories_model(model());
    Session session = open();
    session.forward(ids_);
    save_prompt_cache(session, path());
    expected_ = logits_of_last(session, 40);
    expected_of_16_ = logits_of_last(session, 16);
  }
  std::filesystem::path model() const { return directory_.path() / "stories.spqr"; }
  std::filesystem::path path() const { return directory_.path() / "cache"; }
  Session open(std::int64_t context = 64, CacheType type = CacheType::f16) const {
    return Session({.model = model(), .context = context, .cache_types = {type, type}});
  }
  // Of the session's token `length` - 1, evaluated by itself.
  std::vector<float> logits_of_last(Session& session, std::size_t length) const {
    const auto logits = session.forward(session.rewind_to(std::span(ids_).first(length)));
    return {logits.begin(), logits.end()};
  }
  // What loading `bytes` says.
  std::string refusal(const std::string& bytes) const {
    const auto bad = directory_.write("bad", bytes);
    Session session = open();
    const std::string message = message_of([&] { load_prompt_cache(session, bad); });
    CHECK(session.length() == 0);
    return message;
  }

  TemporaryDirectory directory_;
  std::vector<std::int32_t> ids_ = [] {
    std::vector<std::int32_t> ids(40);
    std::iota(ids.begin(), ids.end(), 100);
    return ids;
  }();
  std::vector<float> expected_;
  std::vector<float> expected_of_16_;
};

}  // namespace

TEST_CASE("a saved sequence is there again without being evaluated") {
  const Saved saved;
  Session session = saved.open();
  load_prompt_cache(session, saved.path());
  CHECK(session.length() == 40);
  CHECK(std::ranges::equal(session.ids(), saved.ids_));
  CHECK(session.rewind_to(saved.ids_).size() == 1);
  CHECK(saved.logits_of_last(session, 40) == saved.expected_);
}

TEST_CASE("a smaller context takes the beginning of it") {
  const Saved saved;
  Session session = saved.open(16);
  load_prompt_cache(session, saved.path());
  CHECK(session.length() == 16);
  CHECK(saved.logits_of_last(session, 16) == saved.expected_of_16_);
}

TEST_CASE("a prompt cache of another model or another type of cache is refused") {
  const Saved saved;
  Session wide = saved.open(64, CacheType::f32);
  CHECK(contains(message_of([&] { load_prompt_cache(wide, saved.path()); }), "caches f16, this session f32"));
  const auto other = saved.directory_.path() / "other.spqr";
  write_dense_model("llama2c/stories260K.bin", "llama2c/tok512.bin", DType::f16, other);
  Session session({.model = other, .context = 64});
  CHECK(contains(message_of([&] { load_prompt_cache(session, saved.path()); }), "another model"));
}

TEST_CASE("damaged and hostile prompt caches are refused") {
  const Saved saved;
  const std::string good = read_bytes(saved.path());
  for (std::size_t size = 0; size < good.size(); size += good.size() / 23)
    CHECK(saved.refusal(good.substr(0, size)) != "no error");
  for (std::size_t at = 8; at < good.size(); at += good.size() / 37) {
    std::string bad = good;
    bad[at] = static_cast<char>(bad[at] ^ 0x20);
    if (bad[at] == '\0') continue;  // the header's padding
    CAPTURE(at);
    CHECK(saved.refusal(bad) != "no error");
  }
  CHECK(contains(saved.refusal(safetensors_bytes({{"ids", "I32", {0}, ""}})), "no prompt cache"));
}

TEST_CASE("where a prompt cache cannot be written, nothing is left behind") {
  const Saved saved;
  Session session = saved.open();
  const auto nowhere = saved.directory_.path() / "none" / "cache";
  CHECK(contains(message_of([&] { save_prompt_cache(session, nowhere); }), "cannot be created"));
  std::filesystem::create_directory(saved.directory_.path() / "folder");
  CHECK(contains(message_of([&] { save_prompt_cache(session, saved.directory_.path() / "folder"); }),
                 "no regular file"));
  CHECK_FALSE(std::filesystem::exists(saved.directory_.path() / "folder.partial"));
}

}  // namespace spqr
