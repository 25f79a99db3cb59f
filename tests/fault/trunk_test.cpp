// A drive that fails while the trunk is loaded.
#include "model/trunk.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <memory>
#include <set>
#include <utility>
#include <vector>

#include "engine/bound_model.h"
#include "io/spread_queue.h"
#include "support/expect_error.h"
#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

// Reads of these descriptors fail, as those of the real queues do after three tries.
class BadFiles final : public ReadQueue {
 public:
  explicit BadFiles(std::set<int> bad) : bad_(std::move(bad)) {}
  void submit(std::span<const ReadRequest> requests) override {
    for (const ReadRequest& r : requests) {
      if (bad_.count(r.fd) > 0) bad_tags_.insert(r.tag);
    }
    inner_->submit(requests);
  }
  std::span<const ReadDone> wait(bool block) override {
    done_.clear();
    for (ReadDone done : inner_->wait(block)) {
      if (bad_tags_.erase(done.tag) > 0) done = {.tag = done.tag, .error = EIO, .n_tries = 3};
      done_.push_back(done);
    }
    return done_;
  }
  int pending() const override { return inner_->pending(); }
  const char* name() const override { return "bad"; }
  int depth() const override { return inner_->depth(); }

 private:
  std::unique_ptr<ReadQueue> inner_ = make_pread_queue(2);
  std::set<int> bad_;
  std::set<uint64_t> bad_tags_;
  std::vector<ReadDone> done_;
};

class BadDrive : public testing::Test {
 protected:
  BadDrive() : model_(bind_model(write_tiny_model(folder_.path(), {}))) {
    for (int i = 0; i < kAllottedCount; ++i) budget_.allot(static_cast<Allotted>(i), uint64_t{1} << 30);
    const auto& files = model_.checkpoint->files();
    Drive copy{.name = "copy", .files = {}};
    for (const auto& file : files) {
      const auto path = std::filesystem::path(copies_.path()) / std::filesystem::path(file->path()).filename();
      std::filesystem::copy_file(file->path(), path);
      copy.files.push_back(open_file(path));
      bad_.insert({file->buffered_fd(), file->direct_fd()});
    }
    drives_ = {{.name = "bad", .files = files}, std::move(copy)};
  }

  std::vector<std::byte> load(std::unique_ptr<ReadQueue> queue) {
    Trunk trunk;
    ThreadPool pool(1);
    trunk.load(*model_.binder, *model_.checkpoint, {*queue, pool}, budget_, {});
    return {trunk.memory().begin(), trunk.memory().end()};
  }

  TempDir folder_, copies_;
  BoundModel model_;
  Budget budget_;
  std::vector<Drive> drives_;
  std::set<int> bad_;
};

TEST_F(BadDrive, AnotherGivesMatricesAndVectors) {
  const auto expected = load(make_pread_queue(2));
  EXPECT_EQ(load(make_spread_queue(std::make_unique<BadFiles>(bad_), drives_, {})), expected);
}

TEST_F(BadDrive, WithoutAnotherTheMessageTellsTensorTriesAndWhatToDo) {
  drives_.resize(1);
  expect_error([&] { load(make_spread_queue(std::make_unique<BadFiles>(bad_), drives_, {})); }, Fault::io,
               {drives_[0].files[0]->path(), "reading tensor ", "Input/output error (3 tries); check the disk"});
}

}  // namespace
}  // namespace flashmoe
