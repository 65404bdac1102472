#include "engine/detect/leading_eigenvectors.h"

#include <Eigen/Eigenvalues>
#include <Eigen/QR>
#include <algorithm>

#include "kernels/error.h"
#include "kernels/philox.h"

namespace eelsvae {
namespace {

using Eigen::Index;
using Eigen::MatrixXd;

EigenPairs largest(const MatrixXd& matrix, Index count) {
  const Eigen::SelfAdjointEigenSolver<MatrixXd> solver(matrix);
  expect(solver.info() == Eigen::Success, "eigenvalues of a matrix that is not finite");
  return {solver.eigenvalues().tail(count).reverse(),
          solver.eigenvectors().rightCols(count).rowwise().reverse()};
}

MatrixXd orthonormal(const MatrixXd& columns) {
  const Eigen::HouseholderQR<MatrixXd> qr(columns);
  return qr.householderQ() * MatrixXd::Identity(columns.rows(), columns.cols());
}

MatrixXd random_columns(Index rows, Index columns) {
  MatrixXd result(rows, columns);
  for (Index i = 0; i < result.size(); ++i) {
    const Philox4 draw = philox(0, static_cast<uint64_t>(i), 0);
    result.data()[i] = normal_pair(draw.v[0], draw.v[1]).first;
  }
  return result;
}

}  // namespace

EigenPairs leading_eigenvectors(const MatrixXd& matrix, Index count) {
  const Index n = matrix.rows();
  expect(matrix.cols() == n && 1 <= count && count <= n, "as many eigenvectors as the matrix has");
  const Index block = count + 12, blocks_per_check = 4;
  MatrixXd basis(n, 0), image(n, 0);  // image = matrix * basis
  MatrixXd next = random_columns(n, std::min(block, n));
  // Beyond half of the whole space, or in a small one, the direct method is faster.
  while (n > 256 && basis.cols() + blocks_per_check * block <= n / 2) {
    for (Index i = 0; i < blocks_per_check; ++i) {
      // Twice, because what is left after the first projection may be rounding, which points anywhere.
      for (int pass = 0; pass < 2; ++pass) {
        if (basis.cols() > 0) next -= basis * (basis.transpose() * next);
        next = orthonormal(next);
      }
      basis.conservativeResize(Eigen::NoChange, basis.cols() + block);
      basis.rightCols(block) = next;
      next = matrix.selfadjointView<Eigen::Lower>() * next;
      image.conservativeResize(Eigen::NoChange, basis.cols());
      image.rightCols(block) = next;
    }
    const EigenPairs inner = largest(basis.transpose() * image, count);
    EigenPairs found{inner.values, basis * inner.vectors};
    const MatrixXd residual = image * inner.vectors - found.vectors * found.values.asDiagonal();
    const double rounding = 1e-13 * matrix.trace();
    if ((residual.colwise().norm().transpose().array() <= 1e-5 * found.values.array() + rounding).all())
      return found;
  }
  return largest(matrix, count);
}

}  // namespace eelsvae
