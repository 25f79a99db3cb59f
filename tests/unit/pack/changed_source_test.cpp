// What is packed is one source, whatever happens to its files meanwhile and between two runs.
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "flashmoe/pack.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

class ChangedSource : public testing::Test {
 protected:
  ChangedSource() {
    TinyModelOptions tiny;
    tiny.n_layers = 8;
    fs::create_directories(dir_ / "from");
    options_.source = write_tiny_model(dir_ / "from", tiny);
    options_.destination = dir_ / "packed";
    options_.n_threads = 1;
  }
  // The last byte, with the size and the beginning as they were.
  void change_source() const {
    std::fstream file(options_.source, std::ios::in | std::ios::out | std::ios::binary);
    file.seekp(-1, std::ios::end);
    file.put('\x21');
  }
  bool begun(int layer) const {
    return fs::exists(fs::path(options_.destination) / ("experts-0" + std::to_string(layer) + ".bank"));
  }

  TempDir dir_;
  PackOptions options_;
};

TEST_F(ChangedSource, IsNotGoneOnFrom) {
  options_.keep_going = [this] { return !begun(3); };
  expect_error([&] { pack(options_); }, Fault::interrupted, {"give the same command again"});
  ASSERT_FALSE(begun(7));
  change_source();
  options_.keep_going = {};
  expect_error([&] { pack(options_); }, Fault::usage, {"was begun from another source"});
}

TEST_F(ChangedSource, IsNoticedWhileItIsPacked) {
  for (const bool deletes : {false, true}) {
    options_.delete_source = deletes;
    bool changed = false;
    options_.keep_going = [&] {
      if (begun(3) && !std::exchange(changed, true)) change_source();
      return true;
    };
    expect_error([&] { pack(options_); }, Fault::io, {options_.source, "was written to or replaced", "pack again"});
    EXPECT_TRUE(fs::exists(options_.source));
    EXPECT_FALSE(fs::exists(dir_ / "packed/manifest.json"));
    fs::remove_all(options_.destination);
  }
}

// Of a run with delete_source that was stopped in its last moments; or somebody else's.
TEST_F(ChangedSource, LeftoversOfOneDoNotHideThatItIsPacked) {
  pack(options_);
  fs::create_directories(dir_ / "packed/source");
  dir_.write("packed/source/config.json", "{}");
  expect_error([&] { pack(options_); }, Fault::usage, {"is packed already"});
  EXPECT_TRUE(fs::exists(dir_ / "packed/source/config.json"));
  dir_.write("packed/source/packed-from.txt", fs::canonical(options_.source).string());
  expect_error([&] { plan_pack(options_); }, Fault::usage, {"is packed already"});
  EXPECT_FALSE(fs::exists(dir_ / "packed/source"));
  fs::create_directories(dir_ / "packed/source.partial");
  expect_error([&] { pack(options_); }, Fault::usage, {"is packed already"});
  EXPECT_FALSE(fs::exists(dir_ / "packed/source.partial"));
}

TEST_F(ChangedSource, BanksOfAnotherSizeAreNotVerified) {
  pack(options_);
  EXPECT_GT(verify_pack(options_), 0U);
  std::ofstream(dir_ / "packed/experts-02.bank", std::ios::app | std::ios::binary) << std::string(4096, 'x');
  expect_error([&] { verify_pack(options_); }, Fault::io, {"experts-02.bank", "manifest.json says"});
}

}  // namespace
}  // namespace flashmoe
