#pragma once

#include <Eigen/Core>

namespace eelsvae {

struct EigenPairs {
  Eigen::VectorXd values;   // (count) descending
  Eigen::MatrixXd vectors;  // (n, count) orthonormal columns
};

// The largest eigenvalues of a symmetric, positive semidefinite matrix (n, n), of which the lower
// triangle is read, and their eigenvectors; 1 <= count <= n.
//
// Where only a few of many are wanted, by block Krylov iteration (C. Musco and C. Musco, NeurIPS 2015): the
// space of X, A X, A^2 X ... for a block X of random columns grows until every wanted pair is an eigenpair to
// within |A v - l v| <= 1e-5 l (plus rounding). The draws are fixed; the same matrix gives the same bits.
EigenPairs leading_eigenvectors(const Eigen::MatrixXd& matrix, Eigen::Index count);

}  // namespace eelsvae
