#include "engine/doctor_files.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "support/temp_dir.h"
#include "support/tiny_model.h"

namespace flashmoe {
namespace {

namespace fs = std::filesystem;

class DoctorFilesTest : public testing::Test {
 protected:
  std::string copied_to(const std::string& name) const {
    const fs::path folder = fs::path(dir_.path()) / name;
    fs::create_directories(folder);
    fs::copy_file(path_, folder / fs::path(path_).filename());
    return folder.string();
  }
  std::vector<Finding> mirrors(const std::vector<std::string>& folders) const {
    std::vector<Finding> findings;
    check_mirrors(*Checkpoint::open(path_), folders, findings);
    for (const Finding& f : findings) {
      EXPECT_EQ(f.what, "mirror");
      EXPECT_EQ(f.mend.empty(), f.verdict == Verdict::good) << f.mend;
    }
    return findings;
  }
  bool reads_direct() const { return check_direct(path_).verdict == Verdict::good; }

  TempDir dir_;
  const std::string path_ = write_tiny_model(dir_.path(), {});
};

TEST_F(DoctorFilesTest, AMirrorOnTheModelsDriveAddsNothing) {
  if (!reads_direct()) GTEST_SKIP() << dir_.path() << ": no direct reads here";
  const auto found = mirrors({copied_to("a")});
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].verdict, Verdict::note);
  EXPECT_NE(found[0].found.find("same drive as " + dir_.path()), std::string::npos) << found[0].found;
}

TEST_F(DoctorFilesTest, AMirrorGivenTwiceIsTold) {
  const std::string folder = copied_to("a");
  const auto found = mirrors({folder, folder + "/."});
  ASSERT_EQ(found.size(), 2U);
  EXPECT_NE(found[1].found.find("given twice"), std::string::npos) << found[1].found;
}

TEST_F(DoctorFilesTest, AMirrorThatRefusesDirectReadsIsAProblem) {
  if (!reads_direct()) GTEST_SKIP() << dir_.path() << ": no direct reads here";
  const TempDir memory;
  const fs::path folder = fs::path("/dev/shm") / fs::path(memory.path()).filename();
  std::error_code error;
  fs::create_directories(folder, error);
  if (!error) fs::copy_file(path_, folder / fs::path(path_).filename(), error);
  const bool refuses = !error && check_direct((folder / fs::path(path_).filename()).string()).verdict != Verdict::good;
  const auto found = refuses ? mirrors({folder.string()}) : std::vector<Finding>();
  fs::remove_all(folder, error);
  if (!refuses) GTEST_SKIP() << "/dev/shm: cannot be written to, or has direct reads";
  ASSERT_EQ(found.size(), 1U);
  EXPECT_EQ(found[0].verdict, Verdict::problem);
  EXPECT_NE(found[0].found.find("page cache"), std::string::npos) << found[0].found;
}

TEST_F(DoctorFilesTest, WhatIsNotThereIsToldWhereItIsRead) { EXPECT_TRUE(mirrors({dir_.path() + "/none"}).empty()); }

TEST_F(DoctorFilesTest, AWholeModelHasNoFindingAboutHoles) {
  std::vector<Finding> findings;
  check_holes(*Checkpoint::open(path_), findings);
  EXPECT_TRUE(findings.empty());
}

}  // namespace
}  // namespace flashmoe
